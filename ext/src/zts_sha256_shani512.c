/* The same with AVX-512VL: twice the registers, so that four lanes do not spill. */
#if defined(__x86_64__)

#define SHANI __attribute__((target("sha,avx512vl")))
#define SHANI_BACKEND zts_sha256_shani512
#define SHANI_NAME "sha-ni-512"

#include "zts_sha256_shani.h"

#endif
