/* disco_vectors.h - messages of Tailscale's disco package, as hex digits.
 *
 * Made by tailscale.com/disco and types/key of 1.104.5, and compared with them by tests/interop/disco_vectors_test.go,
 * which reads this file: one name and one string a definition. tests/unit/test_disco.c and test_geneve.c hold our code
 * against it.
 *
 * Private keys, before clamping: S (a relay) 32 times 11, A 32 times 22, B 32 times 33. They protect nothing. Nonce of
 * every box: 00 01 .. 17. VNI 010203, generation of the handshake 7.
 */
#pragma once

/* public keys */
#define DISCO_VECTOR_S_PUBLIC "7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f13"
#define DISCO_VECTOR_A_PUBLIC "0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f20"
#define DISCO_VECTOR_B_PUBLIC "7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b14"

/* keys of the boxes between two */
#define DISCO_VECTOR_AS_SHARED "8abe7c8ae6800b76d4f5986b04b77f6e9b4f332403c90df02428336e8bd9b525"
#define DISCO_VECTOR_BS_SHARED "f90a562055afce1c541f3d8d7dd633e08c2dfbc9a1b1fa234a3baae59e2f2e12"
#define DISCO_VECTOR_AB_SHARED "6d75626a8f94eceaed63dd543a34213d4a2617c0da5ef4e41592141b2c3e9201"

/* Bind, A to S: plaintext */
#define DISCO_VECTOR_BIND_PLAIN                                                                            \
    "040000010203000000077b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b140000000000000000" \
    "000000000000000000000000000000000000000000000000"

/* Bind, A to S: datagram */
#define DISCO_VECTOR_BIND                                                                                  \
    "00807a11010203005453f09f92ac0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f2000010203" \
    "0405060708090a0b0c0d0e0f1011121314151617f076d95a7912d5d900252082c6a1c7cd5f8c19975c90fac83aaa4ea19688" \
    "469d1de40314cc217d0a9c2d9deef8eb21d745c7946eb32a9bc19bbf5cc6232a89bb8040bba83c90aaa3c8c9eedb4175930b" \
    "b5fdb4c768c5ad68047a"

/* Challenge, S to A, for 192.0.2.1:41641 by the Go server: datagram */
#define DISCO_VECTOR_CHALLENGE                                                                             \
    "00807a11010203005453f09f92ac7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f1300010203" \
    "0405060708090a0b0c0d0e0f1011121314151617a658c500d9a7bff986234dfa357a41205e8c19975c90fac83aaa4ea19688" \
    "469d1de40314cc217d0a9c2d9deef8eb21d745c7946eb32a9bc19bbfe92ae88f1bb8b50f2fe5871c48e1a11c6d66c8eb73c2" \
    "800bd8174d3086c0af00"

/* and its MAC, BLAKE2s */
#define DISCO_VECTOR_CHALLENGE_MAC "b5eccba59203354f944dbb8ce24269d583bd899ee0c935f66cd025f52ba8ab7a"

/* Answer, A to S: datagram */
#define DISCO_VECTOR_ANSWER                                                                                \
    "00807a11010203005453f09f92ac0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f2000010203" \
    "0405060708090a0b0c0d0e0f1011121314151617a402be26335a0fc440a8e404e54fa4c45d8c19975c90fac83aaa4ea19688" \
    "469d1de40314cc217d0a9c2d9deef8eb21d745c7946eb32a9bc19bbfe92ae88f1bb8b50f2fe5871c48e1a11c6d66c8eb73c2" \
    "800bd8174d3086c0af00"

/* relayed Ping, A to B, transaction 01 to 0c, node key 32 times 55: datagram */
#define DISCO_VECTOR_PING                                                                                  \
    "00007a11010203005453f09f92ac0faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f2000010203" \
    "0405060708090a0b0c0d0e0f1011121314151617a97fd9c7affd9032f450a5ff1d58d5c78fa9297f0cba010add020da11216" \
    "b16856a85f8679535731779bcecf489803a657728910ef48c7c186eb1e65a122"

/* relayed Pong, B to A, source 192.0.2.1:41641: datagram */
#define DISCO_VECTOR_PONG                                                                                  \
    "00007a11010203005453f09f92ac7b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b1400010203" \
    "0405060708090a0b0c0d0e0f1011121314151617d880c1be9940a9f096c3b1ae32a4d4078ca9297f0cba010add020da11216" \
    "e43d03fd0ad32c060264dd315b9a1fccf45a"

/* AllocateRequest for A and B, generation 9: plaintext */
#define DISCO_VECTOR_REQUEST_PLAIN                                                                         \
    "08000faa684ed28867b97f4a6a2dee5df8ce974e76b7018e3f22a1c4cf2678570f207b0d47d93427f8311160781c7c733fd8" \
    "9f88970aef490d8aa0ee19a4cb8a1b1400000009"

/* AllocateResponse, generation 9, lamport 1, 30 s, 5 min, 192.0.2.9:3478: plaintext */
#define DISCO_VECTOR_RESPONSE_PLAIN                                                                        \
    "0900000000097b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f130faa684ed28867b97f4a6a2d" \
    "ee5df8ce974e76b7018e3f22a1c4cf2678570f207b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a" \
    "1b1400000000000000010001020300000006fc23ac0000000045d964b80000000000000000000000ffffc00002090d96"

/* CallMeMaybeVia of the same endpoint: plaintext */
#define DISCO_VECTOR_VIA_PLAIN                                                                             \
    "07007b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f130faa684ed28867b97f4a6a2dee5df8ce" \
    "974e76b7018e3f22a1c4cf2678570f207b0d47d93427f8311160781c7c733fd89f88970aef490d8aa0ee19a4cb8a1b140000" \
    "0000000000010001020300000006fc23ac0000000045d964b80000000000000000000000ffffc00002090d96"
