/* Content hash: BLAKE2b-256 (libsodium). Names artifacts, specs, trials.
 *
 * Fields are length-prefixed (8 bytes little-endian), so that ("ab","c") != ("a","bc"). */
#ifndef SEQTUNE_BASE_HASH_H
#define SEQTUNE_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Hash {
    uint8_t bytes[32];
} Hash;

typedef struct HashState {
    _Alignas(64) unsigned char opaque[384]; /* crypto_generichash_state */
} HashState;

enum { HASH_HEX_SIZE = 65 };

Hash hash_bytes(const void *data, size_t size);
void hash_begin(HashState *state);
void hash_update(HashState *state, const void *data, size_t size); /* raw bytes */
void hash_field(HashState *state, const void *data, size_t size);  /* length, then bytes */
void hash_text(HashState *state, const char *text);                /* hash_field of a C string */
void hash_u64(HashState *state, uint64_t value);                   /* 8 bytes little-endian */
Hash hash_end(HashState *state);

void hash_hex(const Hash *hash, char out[HASH_HEX_SIZE]); /* lower case */
bool hash_from_hex(const char *hex, Hash *out);
bool hash_equal(const Hash *a, const Hash *b);

#endif
