/* Loads, stores, comparison and erasure of bytes: the few lines that must never be optimised into harm. */
#ifndef ZTS_BYTES_H
#define ZTS_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ZTS_MUST_USE __attribute__((warn_unused_result))
#define ZTS_INLINE static inline __attribute__((always_inline))
#define ZTS_LIKELY(x) __builtin_expect(!!(x), 1)
#define ZTS_UNLIKELY(x) __builtin_expect(!!(x), 0)

ZTS_INLINE uint16_t zts_load16(const uint8_t *p) { uint16_t v; memcpy(&v, p, sizeof v); return v; }
ZTS_INLINE uint32_t zts_load32(const uint8_t *p) { uint32_t v; memcpy(&v, p, sizeof v); return v; }
ZTS_INLINE uint64_t zts_load64(const uint8_t *p) { uint64_t v; memcpy(&v, p, sizeof v); return v; }
ZTS_INLINE void zts_store16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }
ZTS_INLINE void zts_store32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof v); }
ZTS_INLINE void zts_store64(uint8_t *p, uint64_t v) { memcpy(p, &v, sizeof v); }

ZTS_INLINE uint32_t zts_load32_be(const uint8_t *p) { return __builtin_bswap32(zts_load32(p)); }
ZTS_INLINE void zts_store32_be(uint8_t *p, uint32_t v) { zts_store32(p, __builtin_bswap32(v)); }
ZTS_INLINE void zts_store64_be(uint8_t *p, uint64_t v) { zts_store64(p, __builtin_bswap64(v)); }

/* Tells the core that we spin, so that its sibling may work. */
ZTS_INLINE void zts_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Two loads, no branch on content: the time tells nothing about where two tags part. */
ZTS_INLINE int zts_tag_equal(const uint8_t a[16], const uint8_t b[16]) {
    return ((zts_load64(a) ^ zts_load64(b)) | (zts_load64(a + 8) ^ zts_load64(b + 8))) == 0;
}

/* The barrier stops the compiler from dropping the stores as dead. */
ZTS_INLINE void zts_wipe(void *p, size_t bytes) {
    memset(p, 0, bytes);
    __asm__ __volatile__("" : : "r"(p) : "memory");
}

#endif
