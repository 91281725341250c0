/* The SHA extensions with AVX: every x86 server that has the one has the other. */
#if defined(__x86_64__)

#define SHANI __attribute__((target("sha,avx")))
#define SHANI_BACKEND zts_sha256_shani
#define SHANI_NAME "sha-ni"

#include "zts_sha256_shani.h"

#endif
