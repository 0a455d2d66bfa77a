#include "applicable.h"

#include <crypto_mb/cpu_features.h>

/* The library has code for AVX-IFMA too, without AVX-512. None of our tests has run it: it is not taken. */
int applicable(void)
{
    int64u needed = MBX_AVX512_GENERAL_ISA | mbcpCPUID_AVX512CD;
    return mbx_is_crypto_mb_applicable(0) && (mbx_get_cpu_features() & needed) == needed &&
           (mbx_get_algo_info(MBX_ALGO_ECDSA_NIST_P256) & MBX_WIDTH_MB8) != 0;
}
