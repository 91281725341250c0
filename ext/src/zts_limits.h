/* Every number of protocol version 1, each with its unit in its name.
 *
 * Specification constants come first: changing one changes the protocol. Tunables follow: a deployment may
 * choose another value and still talk to everybody. Python reads both from the extension; nothing else in the
 * project repeats them. */
#ifndef ZTS_LIMITS_H
#define ZTS_LIMITS_H

#include <stdint.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "ztsession needs a little-endian machine: tokens and tables are little-endian and are read in place"
#endif
#if UINTPTR_MAX < UINT64_MAX
#error "ztsession needs a 64-bit machine: replay and revocation rely on lock-free 64-bit words"
#endif

/* ---- Specification ------------------------------------------------------------------------------------ */

#define ZTS_PROTOCOL_VERSION 1

#define ZTS_TOKEN_BYTES 48
#define ZTS_TOKEN_HEADERBYTES 32
#define ZTS_TOKEN_TAGBYTES 16
#define ZTS_TOKEN_TEXTBYTES 64 /* base64url without padding */

#define ZTS_DIRECTION_REQUEST 0 /* client to service */
#define ZTS_DIRECTION_REPLY 1   /* service to client */

#define ZTS_SHA256_BYTES 32
#define ZTS_SHA256_BLOCKBYTES 64
#define ZTS_SECRET_BYTES 32
#define ZTS_NONCE_BYTES 32

#define ZTS_HANDLE_INDEXBITS 24
#define ZTS_HANDLE_RANDOMBITS 40
#define ZTS_TABLE_CAPACITY_MAX (1u << ZTS_HANDLE_INDEXBITS)

/* One bitmap word per mode decides: 64 operations fill it. */
#define ZTS_OPERATIONS_MAX 64

/* A replay word holds sequence / 32 in 32 bits, so 2^37 - 1 is the last sequence that can be told from its
 * predecessors. The session ends there, long before the 2^48 that the rekey limit would allow. */
#define ZTS_SEQUENCE_MAX ((UINT64_C(1) << 37) - 1)

/* ---- Tunables ----------------------------------------------------------------------------------------- */

#define ZTS_BODY_MAXBYTES (16u << 20)
#define ZTS_REPLAY_WORDS_DEFAULT 32 /* 64-bit words of 32 sequences each */
#define ZTS_REPLAY_WORDS_MAX 1024
#define ZTS_PROFILES_DEFAULT 1024
#define ZTS_SKEW_US 250000
#define ZTS_EPOCH_LENGTH_US 30000000
#define ZTS_EPOCH_LENGTH_MIN_US 1000000
#define ZTS_EPOCH_STEPS_MAX 64      /* chain steps that one token may cause */
#define ZTS_MAX_AGE_US 2000000      /* default of an operation */
#define ZTS_MAX_AGE_MIN_US 1000
#define ZTS_MAX_AGE_MAX_US 60000000
#define ZTS_FINE_CLOCK_BELOW_US 50000 /* tighter operations read the fine clock */
#define ZTS_LEASE_US 5000000
#define ZTS_IDLE_S 900                    /* NIST SP 800-63B-4, AAL3: idle <= 15 min */
#define ZTS_LIFETIME_S 43200              /* NIST SP 800-63B-4, AAL3: overall <= 12 h */
#define ZTS_POSTURE_MAX_AGE_S 600
#define ZTS_OVERLAP_S 10                  /* a renewed session's old keys, for messages in flight */
#define ZTS_COOKIE_SECRET_S 120           /* as WireGuard */
#define ZTS_HANDSHAKES_PER_SOURCE_PER_S 50 /* as WireGuard */
#define ZTS_CLOCK_WINDOW_US 10000000      /* how long one observation of the point's clock counts */
#define ZTS_BATCH_PREFETCH 8              /* tokens ahead */
#define ZTS_BATCH_CLOCK 256               /* tokens per look at the clock: some 20 us, a fraction of its tick */
#define ZTS_BATCH_CLOCK_BODYBYTES 1024    /* a body over this has the clock looked at for itself */
#define ZTS_SPINS_MAX 4096                /* looks at a slot that is being written, before giving way to others */
#define ZTS_YIELDS_MAX 64                 /* times that a reader then gives way, before it refuses */
#define ZTS_NAPS_MAX 10000                /* times that a writer then sleeps, before it goes on alone */
#define ZTS_NAP_US 100

/* stale_ms of an operation that stays allowed for as long as the session lives */
#define ZTS_STALE_ALWAYS_MS UINT32_MAX

#endif
