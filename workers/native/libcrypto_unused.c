/* The library has functions for OpenSSL's numbers beside those for plain ones. They are never called, but name these. */
#include <stdlib.h>

#define UNUSED(name)   \
    void name(void);   \
    void name(void)    \
    {                  \
        abort();       \
    }

UNUSED(BN_bin2bn)
UNUSED(BN_bn2lebinpad)
UNUSED(BN_is_word)
UNUSED(BN_num_bits)
UNUSED(ECDSA_SIG_get0)
