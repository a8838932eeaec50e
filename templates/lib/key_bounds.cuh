// The keys that one query sees, both inclusive; last < first: none. Slot mask defines
// `KeyBounds key_bounds(const AttnParams &p, int token)`, and the enumerator mask_cuts_left: 0 when
// `first` is always 0. Both bounds grow with the token, so a block's first and last query bound it.
struct KeyBounds {
    int first, last;
};
