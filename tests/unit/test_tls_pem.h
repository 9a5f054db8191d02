/* test_tls_pem.h - certificates and keys for tests: worthless anywhere else, valid from 2020 to the end of 2099.
 *
 * Root -> intermediate -> EC leaf for derp.example and *.wild.example (common name ignored.example); the same leaf's
 * key with a certificate that expired in 2021; a self-signed RSA leaf for rsa.example, 192.0.2.1 and 2001:db8::1.
 */
#pragma once

/* the authority */
#define PEM_ROOT                                                         \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBXDCCAQGgAwIBAgIBZTAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBQxEjAQBgNVBAMT\n" \
    "CVRlc3QgUm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABP0EbCz6SwOm5roy\n" \
    "RZw2Zt9wo1/icg7OOwaiUttAJ4Dl6veHEPHQEPEjE5bhIsArbzbUTk0ymRyC4STO\n" \
    "i79w4e6jQjBAMA4GA1UdDwEB/wQEAwICBDAPBgNVHRMBAf8EBTADAQH/MB0GA1Ud\n" \
    "DgQWBBTzpAQCRgjAktyI7Um6AsjZF1Oa5jAKBggqhkjOPQQDAgNJADBGAiEAreFu\n" \
    "sSKRu/8xyn8iIcHcYoRXol1y7MBllfOZPQGUPO4CIQDn3meUCgLxqMan/o37/GHP\n" \
    "DlBsMQUlXVfId7IUX409qw==\n"                                         \
    "-----END CERTIFICATE-----\n"

/* another authority */
#define PEM_OTHER_ROOT                                                   \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBXDCCAQOgAwIBAgIBaTAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpPdGhlciBS\n" \
    "b290MCAXDTIwMDEwMTAwMDAwMFoYDzIwOTkxMjMxMDAwMDAwWjAVMRMwEQYDVQQD\n" \
    "EwpPdGhlciBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKapSvvTsp4KG\n" \
    "/RZPyhB4QOD/C1NW6sbAejteWIipTAhaaymXa24iQUQbZqYusV6/u8AsPlS+imJi\n" \
    "y9nAqrVWgaNCMEAwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMBAf8wHQYD\n" \
    "VR0OBBYEFPly3xlWkR31bRuzSfX8vRBAWzPwMAoGCCqGSM49BAMCA0cAMEQCIHAt\n" \
    "Mgr2vIJQHQcfdcsQpYrapaalasZUAr2+RuD64B5TAiAweuxzuDwC4Io2k6EjF03C\n" \
    "vyv6AFSm/qRbB5mT+rbSSw==\n"                                         \
    "-----END CERTIFICATE-----\n"

/* leaf, intermediate */
#define PEM_CHAIN                                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBpTCCAUygAwIBAgIBZzAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowGjEY\n" \
    "MBYGA1UEAxMPaWdub3JlZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n" \
    "QgAEkycgQmQ2oZYKySuueepYGKokNqyK67pps5qzqNPFkoXq0GxzfcBMUQsBnk4f\n" \
    "VMwfeuPQ2Rirok4mt7rBLpSmQaN/MH0wDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQM\n" \
    "MAoGCCsGAQUFBwMBMAwGA1UdEwEB/wQCMAAwHwYDVR0jBBgwFoAUnLf8hY++uc6j\n" \
    "TedNw1DdhGiLnR4wJwYDVR0RBCAwHoIMZGVycC5leGFtcGxlgg4qLndpbGQuZXhh\n" \
    "bXBsZTAKBggqhkjOPQQDAgNHADBEAiA27Z49SQxKKqiJ21kKmOAirIt4LFsHhqbp\n" \
    "9X6LiDHsdQIgKVyPTZ2ENDmfeb4dhrK9ewqDKYx3ATIamT+SreKvH50=\n"         \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExJbL\n" \
    "ADrl6Ih7ph/SdTvdjGIUUnm6T0wbylZ2Wl6z6elC5O9cBM34uO2NBNYiJ9NNAnSl\n" \
    "JKFwhxs3edkEQP5RH6NjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFJy3/IWPvrnOo03nTcNQ3YRoi50eMB8GA1UdIwQYMBaAFPOk\n" \
    "BAJGCMCS3IjtSboCyNkXU5rmMAoGCCqGSM49BAMCA0gAMEUCIQC2GDFj/K930cPd\n" \
    "pXdktxxorQb2+oMfWHbHhWy4xSUAmgIgJ2eYY74hHe05QWeImMozgwx9i4LLOa5T\n" \
    "ErHPfwIQHYk=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* leaf of 2020, intermediate */
#define PEM_EXPIRED_CHAIN                                                \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhzCCAS6gAwIBAgIBaDAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMA4xDDAK\n" \
    "BgNVBAMTA29sZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJMnIEJkNqGWCskr\n" \
    "rnnqWBiqJDasiuu6abOas6jTxZKF6tBsc33ATFELAZ5OH1TMH3rj0NkYq6JOJre6\n" \
    "wS6UpkGjbzBtMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDATAM\n" \
    "BgNVHRMBAf8EAjAAMB8GA1UdIwQYMBaAFJy3/IWPvrnOo03nTcNQ3YRoi50eMBcG\n" \
    "A1UdEQQQMA6CDGRlcnAuZXhhbXBsZTAKBggqhkjOPQQDAgNHADBEAiBKswfwPKEq\n" \
    "DgEyHwYdrYzGacaGEwxj2W0TSje8cqkahQIgCiMByHMx4LkaklY2XGfbUt0EW4fd\n" \
    "liOrba9of8KPx7A=\n"                                                 \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAExJbL\n" \
    "ADrl6Ih7ph/SdTvdjGIUUnm6T0wbylZ2Wl6z6elC5O9cBM34uO2NBNYiJ9NNAnSl\n" \
    "JKFwhxs3edkEQP5RH6NjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFJy3/IWPvrnOo03nTcNQ3YRoi50eMB8GA1UdIwQYMBaAFPOk\n" \
    "BAJGCMCS3IjtSboCyNkXU5rmMAoGCCqGSM49BAMCA0gAMEUCIQC2GDFj/K930cPd\n" \
    "pXdktxxorQb2+oMfWHbHhWy4xSUAmgIgJ2eYY74hHe05QWeImMozgwx9i4LLOa5T\n" \
    "ErHPfwIQHYk=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* of the leaf, SEC 1 */
#define PEM_KEY                                                          \
    "-----BEGIN EC PRIVATE KEY-----\n"                                   \
    "MHcCAQEEIEzIcKXYQNMDgjzTPwLGEiZWeGbVQzfylvux2QboUuWxoAoGCCqGSM49\n" \
    "AwEHoUQDQgAEkycgQmQ2oZYKySuueepYGKokNqyK67pps5qzqNPFkoXq0GxzfcBM\n" \
    "UQsBnk4fVMwfeuPQ2Rirok4mt7rBLpSmQQ==\n"                             \
    "-----END EC PRIVATE KEY-----\n"

/* the same, PKCS#8 */
#define PEM_KEY_PKCS8                                                    \
    "-----BEGIN PRIVATE KEY-----\n"                                      \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTMhwpdhA0wOCPNM/\n" \
    "AsYSJlZ4ZtVDN/KW+7HZBuhS5bGhRANCAASTJyBCZDahlgrJK6556lgYqiQ2rIrr\n" \
    "ummzmrOo08WSherQbHN9wExRCwGeTh9UzB9649DZGKuiTia3usEulKZB\n"         \
    "-----END PRIVATE KEY-----\n"

/* of nothing here */
#define PEM_OTHER_KEY                                                    \
    "-----BEGIN EC PRIVATE KEY-----\n"                                   \
    "MHcCAQEEIFllBE6AiBkScephI8r0dkB6x7g41uMMdWUvPdMmImWgoAoGCCqGSM49\n" \
    "AwEHoUQDQgAEKapSvvTsp4KG/RZPyhB4QOD/C1NW6sbAejteWIipTAhaaymXa24i\n" \
    "QUQbZqYusV6/u8AsPlS+imJiy9nAqrVWgQ==\n"                             \
    "-----END EC PRIVATE KEY-----\n"

/* one self-signed RSA certificate */
#define PEM_RSA_CHAIN                                                    \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIDDjCCAfagAwIBAgIBajANBgkqhkiG9w0BAQsFADAWMRQwEgYDVQQDEwtyc2Eu\n" \
    "ZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowFjEUMBIG\n" \
    "A1UEAxMLcnNhLmV4YW1wbGUwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIB\n" \
    "AQCnh3Ha4fG9Ihs88Px1ftCr7T9uzeHGKE2IKUc8exgp5YD7nxcQWQVbstKDoQii\n" \
    "igxoUXibvulQDMLrwRhqPNn5z9hExb5DvBgAhLRfFveqd1euyL66LhpKkwT78g0Y\n" \
    "6BCEKW4y60SE9JDslKw98USl7be6Qo3/fTrmuGP1MfoF2RWgSdXzvQa7kilZIWyp\n" \
    "dMPPzH+B8QPgUo9Sw9OdqfFGAH/iAhtuHOqLBHEvKxexk4Iuwby26GOTnrqJLBlp\n" \
    "Y5ZiVs47wl2q22YNb/boGMa7L2Ozw1GnynCTzXkFxGI7wtGwaBHUACv8eZOQ27J+\n" \
    "wuheqdLEYyPdEbjCGq/mA78PAgMBAAGjZTBjMA4GA1UdDwEB/wQEAwIHgDATBgNV\n" \
    "HSUEDDAKBggrBgEFBQcDATAMBgNVHRMBAf8EAjAAMC4GA1UdEQQnMCWCC3JzYS5l\n" \
    "eGFtcGxlhwTAAAIBhxAgAQ24AAAAAAAAAAAAAAABMA0GCSqGSIb3DQEBCwUAA4IB\n" \
    "AQATkoPuP+R2SE9PEAMWHm7rstfjdFVBJl9qgeRib6Bia02flFJka7PEXLdhIFNs\n" \
    "4Iz485AHLUjd34ZUz+1inMKhawfsoEof9bjhFiiLrtMCG6+snl+z+F2mpGRDM6jk\n" \
    "n+v3aDAWP+Uoxi3kQ/24Pe9efulsjrAkY/rQ2BNYyc5nAuJsCQMqjh70KE7jABE9\n" \
    "qBbH3PrucUa0e/5DR1I3TJMbfm9s9m8cu/4zxkMm7BtjC6Kuz3a7KaJJdS1ffCnZ\n" \
    "bxa2oIWHfxoFcBt0f3PlXhBKcQOqTla30O33sHOP+8HMLWEh27f+vctDef5NzZxq\n" \
    "lW1yUTdbjc61qSf4jx4bFGs+\n"                                         \
    "-----END CERTIFICATE-----\n"

/* its key, PKCS#1 */
#define PEM_RSA_KEY                                                      \
    "-----BEGIN RSA PRIVATE KEY-----\n"                                  \
    "MIIEogIBAAKCAQEAp4dx2uHxvSIbPPD8dX7Qq+0/bs3hxihNiClHPHsYKeWA+58X\n" \
    "EFkFW7LSg6EIoooMaFF4m77pUAzC68EYajzZ+c/YRMW+Q7wYAIS0Xxb3qndXrsi+\n" \
    "ui4aSpME+/INGOgQhCluMutEhPSQ7JSsPfFEpe23ukKN/3065rhj9TH6BdkVoEnV\n" \
    "870Gu5IpWSFsqXTDz8x/gfED4FKPUsPTnanxRgB/4gIbbhzqiwRxLysXsZOCLsG8\n" \
    "tuhjk566iSwZaWOWYlbOO8JdqttmDW/26BjGuy9js8NRp8pwk815BcRiO8LRsGgR\n" \
    "1AAr/HmTkNuyfsLoXqnSxGMj3RG4whqv5gO/DwIDAQABAoIBAEqFFUAoAUAAS91v\n" \
    "1Nzu7COOBQlky2k5xEMtGWLt3nHEhPtoaPn8n0WK5dlnaE/k2GAO3XdqFJ5nDs2P\n" \
    "tyyKpOtaaPkufNPkd0jDvvgNX12UeIxm/3AR0eAaRb1Mjkbl83LWew5rWK9Lmquh\n" \
    "9nwXNlIYzAEuWbusGOdIXi5TbMPsdFCCWx/7MN4Ogq1JOAldh65cLOSy3B1GCrc/\n" \
    "4F7TaWBNGZhMy2dDwBx7N9A/JwlRb1uMRx9KNnghv2nqkDC3Y4NFsWHYf+dKp6xo\n" \
    "ALTHtLjUSn3SpeVSk382K4j7caoVmircW0B11CaLKN6lTkfKAaITKVycZKLyThhw\n" \
    "EvmHdwECgYEAzE9MHTM0uKGxLXoNRTaRRYkJ8+NTR4rmlqQ1mmWORo1zJg2LSkil\n" \
    "W4xBTOY4O/qF8XK/WsoQgtyM29ApL3T0lLPpc9YNCdPXWtXqYL2KvAfLNTpXR7FO\n" \
    "PMDIoEYUSuzuTTx0pJQm4AkpUcQCHAzphdyPKYI90eJpLTzcTA5FxiMCgYEA0enx\n" \
    "QU1nR2qIvYYs1hLf+LE6lArOn89cchoW3i7xKZBzjTUTTpTlFnCcvwVN+2UQcJXU\n" \
    "jfEv7H83mX3pZMwuwjhSec3gToCnLdwOUsCKTiNvZIzWOl32gToQjgHx5PVnuq8L\n" \
    "0ijv4KLzY29uIN4bDvEzkhO6hoil3cMU+zkFNCUCgYBxcqraH//rceV3UimiQC2k\n" \
    "hfbf1V/9/vQRu/cD19aL+Kly/NxWkEY5soTkFYYuT+smakg1OrS2ZY9V0526+1+A\n" \
    "XvKH3tj4lwgjKVtvAnDR/iXpVY73gU3nUElXLfLAtBWTD7nZVWbMymmGPKfLOaRG\n" \
    "L3XTX73CGM28T+on1VkLLwKBgE5n4mww3DXJrh+UYWToke3TTP0E+F6q1m3sHsSI\n" \
    "ph2PTgndXEPKy7LRB0s2UQVon3ZeEJGgF/VvIzZa2HWE6qYy4WOLqY/I8Cjp/BOe\n" \
    "xUogZDgbft04QZ3NMWfJhC+wFjmdrn2mOsseMmjeszTloRe4sjmK0u3zVnj5p/ma\n" \
    "N75dAoGARcCc1sAQUbhBW3LhwhUM3tMzQfYt9YZ8MjcmCiwwYqHcU0Xs4qM9VPC9\n" \
    "En/q6ELQ3FeL+YWYFOa7eHqPaU/0l/CnmlvR2So+3SreeFwwC13e9TH78Sy2AFjo\n" \
    "gy8MHOmSwO+YBrjsudP3zyjOwe6NrmZu8wNiuE6TsqX/3nf0qOA=\n"             \
    "-----END RSA PRIVATE KEY-----\n"
