/* test_tls_pem.h - certificates and keys for tests: worthless anywhere else, valid from 2020 to the end of 2099.
 *
 * Root -> intermediate -> EC leaf for derp.example and *.wild.example (common name ignored.example); the same leaf's
 * key with a certificate that expired in 2021, and with one for clients only; a leaf that the leaf signed; a
 * self-signed RSA leaf for rsa.example, 192.0.2.1 and 2001:db8::1.
 */
#pragma once

/* the authority */
#define PEM_ROOT                                                         \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBWzCCAQGgAwIBAgIBZTAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBQxEjAQBgNVBAMT\n" \
    "CVRlc3QgUm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABC4pfc8yF/mIiWDT\n" \
    "UFJRRMpTPxiLcM5iQLP74hPPzRnWlRH0+B3Q5UJ5rY9RWYfVgh8Hrqkrvt8LuYMa\n" \
    "Ws6dSQajQjBAMA4GA1UdDwEB/wQEAwICBDAPBgNVHRMBAf8EBTADAQH/MB0GA1Ud\n" \
    "DgQWBBQqSr3DCvM9gRehcLY07pVWVleFITAKBggqhkjOPQQDAgNIADBFAiEAz+OS\n" \
    "RUqphLiukiQwz03tkMxu/meerY9JKO6Rm0h/dT8CIHU9X7M3cM3J99UAvjpMfmkK\n" \
    "SLZwmUTRv/CbYmTq1RYy\n"                                             \
    "-----END CERTIFICATE-----\n"

/* another authority */
#define PEM_OTHER_ROOT                                                   \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBXTCCAQOgAwIBAgIBaTAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpPdGhlciBS\n" \
    "b290MCAXDTIwMDEwMTAwMDAwMFoYDzIwOTkxMjMxMDAwMDAwWjAVMRMwEQYDVQQD\n" \
    "EwpPdGhlciBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzpc1vcv/dW3o\n" \
    "o8y0gA2P+0gcYP7YpTPbi7JNw7jYfd6ytX/IeC3tVPIMTjmoh3ifmSSc6VEWOnmJ\n" \
    "Fv40bZ6HX6NCMEAwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMBAf8wHQYD\n" \
    "VR0OBBYEFCI2MLyXeaM6/eThpNbFWO6KFlMhMAoGCCqGSM49BAMCA0gAMEUCIG+y\n" \
    "bN9OPViXgeKn0lXW9So92ZiqJjrURKNZD24X2YozAiEAvObpMWrbhWVTMyifzVfI\n" \
    "9imMcFkxkfova2QW5In3B3Y=\n"                                         \
    "-----END CERTIFICATE-----\n"

/* leaf, intermediate */
#define PEM_CHAIN                                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBpzCCAUygAwIBAgIBZzAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowGjEY\n" \
    "MBYGA1UEAxMPaWdub3JlZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n" \
    "QgAExey3U7cxnPD2JRiNXY+gI4P9cv77ZLRvWois8sKRmsoG1wdtY2K5Mu/1DXhM\n" \
    "2NVHgWQDosOy+THDaFYlf0G74aN/MH0wDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQM\n" \
    "MAoGCCsGAQUFBwMBMAwGA1UdEwEB/wQCMAAwHwYDVR0jBBgwFoAUNBhgYWQyiDZ1\n" \
    "RQ+8peOjhi1daAAwJwYDVR0RBCAwHoIMZGVycC5leGFtcGxlgg4qLndpbGQuZXhh\n" \
    "bXBsZTAKBggqhkjOPQQDAgNJADBGAiEAvvcpINx3meU1ciMGsCOsCtMl6wvTUNm6\n" \
    "ZyPyxsrmkIICIQCXN8crk5SULnensyU5atl59e8MzxuuC/FcInlti5yzHQ==\n"     \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELBkg\n" \
    "E4wFas/6ruVG4RVfmNX+JxJZA+l5cowKODlX4wD+PEO1Hs35eX2tGw0+7hnM3fC0\n" \
    "sLXk6mkkI4VYNAqWzqNjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFDQYYGFkMog2dUUPvKXjo4YtXWgAMB8GA1UdIwQYMBaAFCpK\n" \
    "vcMK8z2BF6FwtjTulVZWV4UhMAoGCCqGSM49BAMCA0gAMEUCIQCqhIZJkM7AJqp1\n" \
    "ovMEfO4PgBn07Ci7jPDnA7jpAXlPdQIgIoRbvHSYdaIiW+eKks/1IgMNsNSnosB+\n" \
    "47dgCpISDiY=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* leaf of 2020, intermediate */
#define PEM_EXPIRED_CHAIN                                                \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBiDCCAS6gAwIBAgIBaDAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAeFw0yMDAxMDEwMDAwMDBaFw0yMTAxMDEwMDAwMDBaMA4xDDAK\n" \
    "BgNVBAMTA29sZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMXst1O3MZzw9iUY\n" \
    "jV2PoCOD/XL++2S0b1qIrPLCkZrKBtcHbWNiuTLv9Q14TNjVR4FkA6LDsvkxw2hW\n" \
    "JX9Bu+GjbzBtMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDATAM\n" \
    "BgNVHRMBAf8EAjAAMB8GA1UdIwQYMBaAFDQYYGFkMog2dUUPvKXjo4YtXWgAMBcG\n" \
    "A1UdEQQQMA6CDGRlcnAuZXhhbXBsZTAKBggqhkjOPQQDAgNIADBFAiEA+Pb1Qqs4\n" \
    "T+O5kzgHcIG2tTvc0e6e3rN+VVdiNr8Nd0gCIHlnW+c1KtPGSe0H6KwwTrIY2bXq\n" \
    "Q+36EOieBjZ6AI4d\n"                                                 \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELBkg\n" \
    "E4wFas/6ruVG4RVfmNX+JxJZA+l5cowKODlX4wD+PEO1Hs35eX2tGw0+7hnM3fC0\n" \
    "sLXk6mkkI4VYNAqWzqNjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFDQYYGFkMog2dUUPvKXjo4YtXWgAMB8GA1UdIwQYMBaAFCpK\n" \
    "vcMK8z2BF6FwtjTulVZWV4UhMAoGCCqGSM49BAMCA0gAMEUCIQCqhIZJkM7AJqp1\n" \
    "ovMEfO4PgBn07Ci7jPDnA7jpAXlPdQIgIoRbvHSYdaIiW+eKks/1IgMNsNSnosB+\n" \
    "47dgCpISDiY=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* the leaf alone */
#define PEM_LEAF                                                         \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBpzCCAUygAwIBAgIBZzAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowGjEY\n" \
    "MBYGA1UEAxMPaWdub3JlZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n" \
    "QgAExey3U7cxnPD2JRiNXY+gI4P9cv77ZLRvWois8sKRmsoG1wdtY2K5Mu/1DXhM\n" \
    "2NVHgWQDosOy+THDaFYlf0G74aN/MH0wDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQM\n" \
    "MAoGCCsGAQUFBwMBMAwGA1UdEwEB/wQCMAAwHwYDVR0jBBgwFoAUNBhgYWQyiDZ1\n" \
    "RQ+8peOjhi1daAAwJwYDVR0RBCAwHoIMZGVycC5leGFtcGxlgg4qLndpbGQuZXhh\n" \
    "bXBsZTAKBggqhkjOPQQDAgNJADBGAiEAvvcpINx3meU1ciMGsCOsCtMl6wvTUNm6\n" \
    "ZyPyxsrmkIICIQCXN8crk5SULnensyU5atl59e8MzxuuC/FcInlti5yzHQ==\n"     \
    "-----END CERTIFICATE-----\n"

/* leaf, a root that is not needed, intermediate */
#define PEM_ODD_CHAIN                                                    \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBpzCCAUygAwIBAgIBZzAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowGjEY\n" \
    "MBYGA1UEAxMPaWdub3JlZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n" \
    "QgAExey3U7cxnPD2JRiNXY+gI4P9cv77ZLRvWois8sKRmsoG1wdtY2K5Mu/1DXhM\n" \
    "2NVHgWQDosOy+THDaFYlf0G74aN/MH0wDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQM\n" \
    "MAoGCCsGAQUFBwMBMAwGA1UdEwEB/wQCMAAwHwYDVR0jBBgwFoAUNBhgYWQyiDZ1\n" \
    "RQ+8peOjhi1daAAwJwYDVR0RBCAwHoIMZGVycC5leGFtcGxlgg4qLndpbGQuZXhh\n" \
    "bXBsZTAKBggqhkjOPQQDAgNJADBGAiEAvvcpINx3meU1ciMGsCOsCtMl6wvTUNm6\n" \
    "ZyPyxsrmkIICIQCXN8crk5SULnensyU5atl59e8MzxuuC/FcInlti5yzHQ==\n"     \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBXTCCAQOgAwIBAgIBaTAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpPdGhlciBS\n" \
    "b290MCAXDTIwMDEwMTAwMDAwMFoYDzIwOTkxMjMxMDAwMDAwWjAVMRMwEQYDVQQD\n" \
    "EwpPdGhlciBSb290MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzpc1vcv/dW3o\n" \
    "o8y0gA2P+0gcYP7YpTPbi7JNw7jYfd6ytX/IeC3tVPIMTjmoh3ifmSSc6VEWOnmJ\n" \
    "Fv40bZ6HX6NCMEAwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMBAf8wHQYD\n" \
    "VR0OBBYEFCI2MLyXeaM6/eThpNbFWO6KFlMhMAoGCCqGSM49BAMCA0gAMEUCIG+y\n" \
    "bN9OPViXgeKn0lXW9So92ZiqJjrURKNZD24X2YozAiEAvObpMWrbhWVTMyifzVfI\n" \
    "9imMcFkxkfova2QW5In3B3Y=\n"                                         \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELBkg\n" \
    "E4wFas/6ruVG4RVfmNX+JxJZA+l5cowKODlX4wD+PEO1Hs35eX2tGw0+7hnM3fC0\n" \
    "sLXk6mkkI4VYNAqWzqNjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFDQYYGFkMog2dUUPvKXjo4YtXWgAMB8GA1UdIwQYMBaAFCpK\n" \
    "vcMK8z2BF6FwtjTulVZWV4UhMAoGCCqGSM49BAMCA0gAMEUCIQCqhIZJkM7AJqp1\n" \
    "ovMEfO4PgBn07Ci7jPDnA7jpAXlPdQIgIoRbvHSYdaIiW+eKks/1IgMNsNSnosB+\n" \
    "47dgCpISDiY=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* a leaf signed by the leaf, which is no authority; leaf, intermediate */
#define PEM_FORGED_CHAIN                                                 \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBajCCARCgAwIBAgIBajAKBggqhkjOPQQDAjAaMRgwFgYDVQQDEw9pZ25vcmVk\n" \
    "LmV4YW1wbGUwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBExDzAN\n" \
    "BgNVBAMTBmZvcmdlZDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABAPNVyCAj6bq\n" \
    "ephwoPpe0rxa1vzJ/SEtLMDF7v2ugJEbUI0gSFoAv3lwiRi/1wXmZ13LA9lwIEy+\n" \
    "8TcfiplZZOejTjBMMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcD\n" \
    "ATAMBgNVHRMBAf8EAjAAMBcGA1UdEQQQMA6CDGRlcnAuZXhhbXBsZTAKBggqhkjO\n" \
    "PQQDAgNIADBFAiAusLgriLG/8GUrT8Pr5ivvz+kqzqjYqUDdbwn+pusacAIhAPEs\n" \
    "2vsN6HcSSbYS6d1MRccKLXf00Brf/YW/VccfpCC9\n"                         \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBpzCCAUygAwIBAgIBZzAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowGjEY\n" \
    "MBYGA1UEAxMPaWdub3JlZC5leGFtcGxlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n" \
    "QgAExey3U7cxnPD2JRiNXY+gI4P9cv77ZLRvWois8sKRmsoG1wdtY2K5Mu/1DXhM\n" \
    "2NVHgWQDosOy+THDaFYlf0G74aN/MH0wDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQM\n" \
    "MAoGCCsGAQUFBwMBMAwGA1UdEwEB/wQCMAAwHwYDVR0jBBgwFoAUNBhgYWQyiDZ1\n" \
    "RQ+8peOjhi1daAAwJwYDVR0RBCAwHoIMZGVycC5leGFtcGxlgg4qLndpbGQuZXhh\n" \
    "bXBsZTAKBggqhkjOPQQDAgNJADBGAiEAvvcpINx3meU1ciMGsCOsCtMl6wvTUNm6\n" \
    "ZyPyxsrmkIICIQCXN8crk5SULnensyU5atl59e8MzxuuC/FcInlti5yzHQ==\n"     \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELBkg\n" \
    "E4wFas/6ruVG4RVfmNX+JxJZA+l5cowKODlX4wD+PEO1Hs35eX2tGw0+7hnM3fC0\n" \
    "sLXk6mkkI4VYNAqWzqNjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFDQYYGFkMog2dUUPvKXjo4YtXWgAMB8GA1UdIwQYMBaAFCpK\n" \
    "vcMK8z2BF6FwtjTulVZWV4UhMAoGCCqGSM49BAMCA0gAMEUCIQCqhIZJkM7AJqp1\n" \
    "ovMEfO4PgBn07Ci7jPDnA7jpAXlPdQIgIoRbvHSYdaIiW+eKks/1IgMNsNSnosB+\n" \
    "47dgCpISDiY=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* its key */
#define PEM_FORGED_KEY                                                   \
    "-----BEGIN EC PRIVATE KEY-----\n"                                   \
    "MHcCAQEEIL6mHKXYA2BNYsolXhyaqRSiijEMglKYItFWOLO2knG9oAoGCCqGSM49\n" \
    "AwEHoUQDQgAEA81XIICPpup6mHCg+l7SvFrW/Mn9IS0swMXu/a6AkRtQjSBIWgC/\n" \
    "eXCJGL/XBeZnXcsD2XAgTL7xNx+KmVlk5w==\n"                             \
    "-----END EC PRIVATE KEY-----\n"

/* the leaf's key with a certificate for clients only */
#define PEM_CLIENT_CHAIN                                                 \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBkjCCATigAwIBAgIBazAKBggqhkjOPQQDAjAcMRowGAYDVQQDExFUZXN0IElu\n" \
    "dGVybWVkaWF0ZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowFjEU\n" \
    "MBIGA1UEAxMLY2xpZW50IG9ubHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATF\n" \
    "7LdTtzGc8PYlGI1dj6Ajg/1y/vtktG9aiKzywpGaygbXB21jYrky7/UNeEzY1UeB\n" \
    "ZAOiw7L5McNoViV/Qbvho28wbTAOBgNVHQ8BAf8EBAMCB4AwEwYDVR0lBAwwCgYI\n" \
    "KwYBBQUHAwIwDAYDVR0TAQH/BAIwADAfBgNVHSMEGDAWgBQ0GGBhZDKINnVFD7yl\n" \
    "46OGLV1oADAXBgNVHREEEDAOggxkZXJwLmV4YW1wbGUwCgYIKoZIzj0EAwIDSAAw\n" \
    "RQIgR/aE5ABDxKiCx2hCC5vj3TN9HnPZj1Bu8ByuKpK6d7sCIQDhTA3MNGklfoPv\n" \
    "yci+GN5StETMvl+tt0cRznHHFnj/yw==\n"                                 \
    "-----END CERTIFICATE-----\n"                                        \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIBhDCCASqgAwIBAgIBZjAKBggqhkjOPQQDAjAUMRIwEAYDVQQDEwlUZXN0IFJv\n" \
    "b3QwIBcNMjAwMTAxMDAwMDAwWhgPMjA5OTEyMzEwMDAwMDBaMBwxGjAYBgNVBAMT\n" \
    "EVRlc3QgSW50ZXJtZWRpYXRlMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELBkg\n" \
    "E4wFas/6ruVG4RVfmNX+JxJZA+l5cowKODlX4wD+PEO1Hs35eX2tGw0+7hnM3fC0\n" \
    "sLXk6mkkI4VYNAqWzqNjMGEwDgYDVR0PAQH/BAQDAgIEMA8GA1UdEwEB/wQFMAMB\n" \
    "Af8wHQYDVR0OBBYEFDQYYGFkMog2dUUPvKXjo4YtXWgAMB8GA1UdIwQYMBaAFCpK\n" \
    "vcMK8z2BF6FwtjTulVZWV4UhMAoGCCqGSM49BAMCA0gAMEUCIQCqhIZJkM7AJqp1\n" \
    "ovMEfO4PgBn07Ci7jPDnA7jpAXlPdQIgIoRbvHSYdaIiW+eKks/1IgMNsNSnosB+\n" \
    "47dgCpISDiY=\n"                                                     \
    "-----END CERTIFICATE-----\n"

/* of the leaf, SEC 1 */
#define PEM_KEY                                                          \
    "-----BEGIN EC PRIVATE KEY-----\n"                                   \
    "MHcCAQEEILNp91SlfwYSqjqsHXG+YNMwWj1Dcuq5gpzRhV/aYBRloAoGCCqGSM49\n" \
    "AwEHoUQDQgAExey3U7cxnPD2JRiNXY+gI4P9cv77ZLRvWois8sKRmsoG1wdtY2K5\n" \
    "Mu/1DXhM2NVHgWQDosOy+THDaFYlf0G74Q==\n"                             \
    "-----END EC PRIVATE KEY-----\n"

/* the same, PKCS#8 */
#define PEM_KEY_PKCS8                                                    \
    "-----BEGIN PRIVATE KEY-----\n"                                      \
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgs2n3VKV/BhKqOqwd\n" \
    "cb5g0zBaPUNy6rmCnNGFX9pgFGWhRANCAATF7LdTtzGc8PYlGI1dj6Ajg/1y/vtk\n" \
    "tG9aiKzywpGaygbXB21jYrky7/UNeEzY1UeBZAOiw7L5McNoViV/Qbvh\n"         \
    "-----END PRIVATE KEY-----\n"

/* of nothing here */
#define PEM_OTHER_KEY                                                    \
    "-----BEGIN EC PRIVATE KEY-----\n"                                   \
    "MHcCAQEEILAxzmvy2S1Qs0Jl9NFQLzjQtmLmifQQTUVf5yqJr/EioAoGCCqGSM49\n" \
    "AwEHoUQDQgAEzpc1vcv/dW3oo8y0gA2P+0gcYP7YpTPbi7JNw7jYfd6ytX/IeC3t\n" \
    "VPIMTjmoh3ifmSSc6VEWOnmJFv40bZ6HXw==\n"                             \
    "-----END EC PRIVATE KEY-----\n"

/* one self-signed RSA certificate */
#define PEM_RSA_CHAIN                                                    \
    "-----BEGIN CERTIFICATE-----\n"                                      \
    "MIIDDjCCAfagAwIBAgIBbDANBgkqhkiG9w0BAQsFADAWMRQwEgYDVQQDEwtyc2Eu\n" \
    "ZXhhbXBsZTAgFw0yMDAxMDEwMDAwMDBaGA8yMDk5MTIzMTAwMDAwMFowFjEUMBIG\n" \
    "A1UEAxMLcnNhLmV4YW1wbGUwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIB\n" \
    "AQCbnR6hnVC171dFQ0xmf/3sB9Ze1JrkERsfvXNMHVh+sZhXsCvqGpDCrZNkKlo6\n" \
    "KeomOrALjf24GOjJxi2RPzfJ03KRngW4Y1WYIF61yEesYTiajmW+8aa3jNkm4dqo\n" \
    "OpSV7WoJI6EtDmh9zrBCnGWMd4GyPTEU69+E53QYW9yujPyNnI/SY3CzMiDNmmb1\n" \
    "zqDsg/48+MkjQjXgrM1sc40S9w2Ovku9uq+6qoQXzSsVxmEEnMDdLZZuUPr51G6D\n" \
    "TGPr1oEMGvkkKllxW8iqtJfeDOlVf8KreHwRL04ruiafXqyMJpJArvxYwzGZjW2W\n" \
    "KVpuBhadayPLQgNtrLTnj5aHAgMBAAGjZTBjMA4GA1UdDwEB/wQEAwIHgDATBgNV\n" \
    "HSUEDDAKBggrBgEFBQcDATAMBgNVHRMBAf8EAjAAMC4GA1UdEQQnMCWCC3JzYS5l\n" \
    "eGFtcGxlhwTAAAIBhxAgAQ24AAAAAAAAAAAAAAABMA0GCSqGSIb3DQEBCwUAA4IB\n" \
    "AQBd8Sad+2GxlUmSnhEjk/o4TtuxF4jCYdaS3Lb6E6ZpHGYTD7Qa0oADRlzqe4XI\n" \
    "ma8k4p+v1SjddEkv6RYbwSqq0dJ24p2vwbF9fb6aJqK5iM+Cfo4sAJTlzJ8JWR2Z\n" \
    "oEal/JD1nYRNX6yt6UwHsPJAzZLDzK82snKoAoVNXiG61kQcGCyHuW0pmR++dBx+\n" \
    "1l94jzl/F2eKhCdqWFobjmyFDNm3np+wld48xzAsA401ElJn3S5LqB6dhApGCDOa\n" \
    "b+5bZBaU5n75AewGjAyVaR0X+66jYNgUDLNr9klMsKeWZ7iFVpGIo4VY+F1diyYz\n" \
    "h0QkCLs//jrZYXsuzZH5BIk5\n"                                         \
    "-----END CERTIFICATE-----\n"

/* its key, PKCS#1 */
#define PEM_RSA_KEY                                                      \
    "-----BEGIN RSA PRIVATE KEY-----\n"                                  \
    "MIIEpAIBAAKCAQEAm50eoZ1Qte9XRUNMZn/97AfWXtSa5BEbH71zTB1YfrGYV7Ar\n" \
    "6hqQwq2TZCpaOinqJjqwC439uBjoycYtkT83ydNykZ4FuGNVmCBetchHrGE4mo5l\n" \
    "vvGmt4zZJuHaqDqUle1qCSOhLQ5ofc6wQpxljHeBsj0xFOvfhOd0GFvcroz8jZyP\n" \
    "0mNwszIgzZpm9c6g7IP+PPjJI0I14KzNbHONEvcNjr5LvbqvuqqEF80rFcZhBJzA\n" \
    "3S2WblD6+dRug0xj69aBDBr5JCpZcVvIqrSX3gzpVX/Cq3h8ES9OK7omn16sjCaS\n" \
    "QK78WMMxmY1tlilabgYWnWsjy0IDbay054+WhwIDAQABAoIBAAK3FZs9SvS5tdyc\n" \
    "BX++WPhe1KM383HqSH5fyFy6IFqpj55sEQAXMZJsA+faA1QDejXrjTnOYvBs4tbu\n" \
    "ccoYf8kyOswGpVPny80JN43Vbka4NYwg0u6necC3IOzYQP/xcblB+LkrGXtXRoR3\n" \
    "cEThRLZUOXuaLLqQOQixHynzpGCZRzGrN107b/jwXtoNbINjHVB4IjWfeRtjA2ct\n" \
    "qhQBFfp08/eKLRz8YnLx0DQBfVE+PR0yOJuVH+Rk82re4s7ZngUQmkMAh60tMSLV\n" \
    "oRXrrlAEZOMz3bnWlEshgRFIYmL4KEY0/wxamJN02O3kd06I6SMtUa4q0kqN4ueo\n" \
    "cLFDJ4ECgYEAyXyCADE8ZbrdffE1IguXC7TlwaGQFd1qKAPht1XN1Rl5Cy5ZGYCo\n" \
    "Y5+TFpihn772nczmQ6/jGqR9USVCYfIFzUXKVtB+IIMue+7izoSae8C52xk3cRUr\n" \
    "FEFDXqp/n0NS5pk9WRgCKQGMMGtUaSZMXy1gulPn5kGW8RvFItoHxYECgYEAxbdZ\n" \
    "r6ewdKqRzPdsMdDkCGG31I9kDzRa1/pUYCctY+Z6ccFpo7TYN2+LldWnf4icalqs\n" \
    "kgqJ2HfP5lD5/6RSXvmjGEysejg9gJiTotOoGxAR0VHxBhiHXAMCnUdeMuE9wSp7\n" \
    "sRO16Hwr1iSenI8oKiJuxGRD5LAF3JSKsj7RMAcCgYEAjVX9i0z+ZQ4T2QiekOc4\n" \
    "aUnX8V/3xp6unKs8ZnKWFGnt8t3sOmt5s4h4kV034ur96+uTit+Sm1nPXmCYlERF\n" \
    "tZzDNurBzuS2ctE74Eo8Y5rpxLuHnJeQxICTVZCcPYfoW0IbOqgQu9sOD9j6OVhY\n" \
    "MluOgqXhAi/4ReGJA82VrgECgYEAjiFoD6X0a2nStg2HcahAxOW6SMtrmqKAS5Jg\n" \
    "5V5EevRMQUpQrqZqaC9/oI6egkeqaaoVNEbvIPXANkkv7l4p+KxsWiOEObgEPlVw\n" \
    "jDSrPAkpRdgp87/eTn67emS7isfwpNPtZzZMJnxc5uwcOV+P9/oYtoV9aQBAtnjx\n" \
    "24Dc0DECgYAKe9iZ6HO8gWlA9Jq62R45lGtaXtK2+vBiOXJpysNMP1W/j3+qW6Ed\n" \
    "Te+j6KtGF/iTG5ClOTTX7bhKDQU4CKDUH7dzK35LD+ACrHOARRzxj72VTzm9oa4q\n" \
    "vaDArjes5rZ5ky/3kR7cE5cWu4dWyieShh3ulUgFIZWFqOVjDjA/gg==\n"         \
    "-----END RSA PRIVATE KEY-----\n"
