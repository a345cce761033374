/* This file tests SHA-256 against the examples of the standard and against its own pieces. */
#include "runtime/base/sha256.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* What is small does not look for the processor's instructions, and uses them when they were found.
 */
static void hash_much(void)
{
    static const unsigned char much[16384];
    char hex[65];
    sha256_hex(much, sizeof much, hex);
    cr_assert_str_eq(hex, "4fe7b59af6de3b665b67788cc2f99892ab827efae3a467342b3bb4e3bc8e5bfe");
}

Test(sha256, gives_the_values_of_the_standard)
{
    static const struct {
        const char *text, *hex;
    } cases[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[65];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sha256_hex(cases[i].text, strlen(cases[i].text), hex);
        cr_assert_str_eq(hex, cases[i].hex);
    }
    char *million = malloc(1000000);
    memset(million, 'a', 1000000);
    sha256_hex(million, 1000000, hex);
    cr_assert_str_eq(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

Test(sha256, pieces_hash_as_the_whole_at_every_cut)
{
    unsigned char data[200];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7);
    char whole[65], parts[65];
    hash_much();
    sha256_hex(data, sizeof data, whole);
    for (size_t cut = 0; cut <= sizeof data; cut++) {
        struct sha256_part p[] = {{data, cut}, {data + cut, sizeof data - cut}};
        sha256_parts_hex(p, 2, parts);
        cr_assert_str_eq(parts, whole, "cut at %zu", cut);
    }
}

/* Every length around the blocks, at every place in memory; the value is another implementation's.
 */
Test(sha256, every_length_hashes_as_elsewhere)
{
    unsigned char data[1100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 256);
    struct sha256 all;
    char hex[65];
    hash_much();
    sha256_init(&all);
    for (size_t n = 0; n <= 1000; n++) {
        sha256_hex(data + n % 7, n, hex);
        sha256_update(&all, hex, 64);
    }
    sha256_final_hex(&all, hex);
    cr_assert_str_eq(hex, "32d13966bc49efafa1fdc18027398d951552a3cab3c80aae856548f2e227ad25");
}
