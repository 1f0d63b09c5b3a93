/* What arrives before there is any trust: enrolment requests, replies, and the line a person pasted. */
#include "proto/msg/enrol.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static wire_enrol request;
    static wire_enrolled reply;
    static wire_invitation invitation;
    char host[256];
    uint16_t port;
    (void)!wire_enrol_unpack(&request, data, size, NULL);
    (void)!wire_enrolled_unpack(&reply, data, size, NULL);
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    (void)!wire_invitation_parse(&invitation, text, 1800000000, NULL);
    (void)!wire_address_split(host, &port, text, NULL);
    free(text);
    return 0;
}
