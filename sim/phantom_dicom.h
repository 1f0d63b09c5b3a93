/*
 * One film as a DICOM file: explicit VR little endian, Computed Radiography Image Storage (PS3.3 A.2, PS3.5 7.1.2,
 * PS3.10 7.1), 12 bits in 16. Type 2 attributes that we have no value for are there and empty.
 */
#ifndef SIM_PHANTOM_DICOM_H
#define SIM_PHANTOM_DICOM_H

#include "base/buf.h"

#define SIM_MAX_PLANTED 16

/* Texts are at most 64 characters of plain ASCII. */
typedef struct sim_film {
    const uint16_t *pixels; /* side x side, 0 black .. 4095 */
    unsigned side;
    bool is_monochrome1; /* stored inverted */
    bool has_window;     /* WindowCenter 2048, WindowWidth 4096 */
    unsigned instance;
    char family[32], given[32], patient_id[32], accession[17], address[96], institution[64], physician[64], phone[32],
        note[96];
    char study_uid[65], series_uid[65], sop_uid[65];
} sim_film;

void sim_film_write(fl_buf *out, const sim_film *film);

/* The texts that identify, as they stand in the file; returns how many. */
unsigned sim_film_planted(const char *texts[SIM_MAX_PLANTED], const sim_film *film);

#endif
