/* BLAKE2b-256 by libsodium. Needs no sodium_init: hashing draws no random numbers. */
#include "base/hash.h"

#include <sodium.h>
#include <string.h>

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(HashState), "HashState is too small");
_Static_assert(_Alignof(crypto_generichash_state) <= _Alignof(HashState), "HashState alignment");

static crypto_generichash_state *state_of(HashState *state) {
    return (crypto_generichash_state *)(void *)state->opaque;
}

void hash_begin(HashState *state) {
    crypto_generichash_init(state_of(state), NULL, 0, sizeof((Hash *)0)->bytes);
}

void hash_update(HashState *state, const void *data, size_t size) {
    crypto_generichash_update(state_of(state), data, size);
}

void hash_u64(HashState *state, uint64_t value) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(value >> 8 * i);
    hash_update(state, bytes, sizeof bytes);
}

void hash_field(HashState *state, const void *data, size_t size) {
    hash_u64(state, size);
    hash_update(state, data, size);
}

void hash_text(HashState *state, const char *text) {
    hash_field(state, text, strlen(text));
}

Hash hash_end(HashState *state) {
    Hash hash;
    crypto_generichash_final(state_of(state), hash.bytes, sizeof hash.bytes);
    return hash;
}

Hash hash_bytes(const void *data, size_t size) {
    HashState state;
    hash_begin(&state);
    hash_update(&state, data, size);
    return hash_end(&state);
}

void hash_hex(const Hash *hash, char out[HASH_HEX_SIZE]) {
    for (size_t i = 0; i < sizeof hash->bytes; i++) {
        out[2 * i] = "0123456789abcdef"[hash->bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[hash->bytes[i] & 15];
    }
    out[HASH_HEX_SIZE - 1] = '\0';
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

bool hash_from_hex(const char *hex, Hash *out) {
    Hash hash;
    for (size_t i = 0; i < sizeof hash.bytes; i++) {
        int high = digit(hex[2 * i]);
        int low = high < 0 ? -1 : digit(hex[2 * i + 1]);
        if (low < 0) return false;
        hash.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (hex[HASH_HEX_SIZE - 1]) return false;
    *out = hash;
    return true;
}

bool hash_equal(const Hash *a, const Hash *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}
