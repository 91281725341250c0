/* What the parts of the table say to each other and to nobody else. */
#ifndef ZTS_TABLE_PARTS_H
#define ZTS_TABLE_PARTS_H

#include "zts_table.h"

/* Holds one reference to the profile of this digest, made on first use. */
zts_status zts_profile_hold(const zts_table *table, const zts_profile_spec *spec, uint32_t *index) ZTS_MUST_USE;
void zts_profile_release(zts_profile *profile);

/* Takes away in place: what is not in `allowed`, and what `step_up` wants more assurance for. */
void zts_profile_narrow(zts_profile *profile, const uint64_t allowed[3], uint64_t step_up);

/* Takes the slot only if it is free and still at `revision`. */
int zts_slot_try_lock(zts_slot *slot, uint64_t revision) ZTS_MUST_USE;
void zts_slot_publish_keys(zts_slot *slot, const zts_keyring *ring);

#endif
