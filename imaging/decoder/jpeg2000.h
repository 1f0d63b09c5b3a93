/*
 * img_read_jpeg2000 - a JPEG 2000 code stream (or JP2 file) of a DICOM frame through OpenJPEG, in strict mode.
 *
 * The stream must have n_samples components without subsampling, of rows x columns, none deeper than max_bits.
 * Reversible and irreversible colour transforms are undone by the codec: YBR_RCT and YBR_ICT come back as RGB.
 */
#ifndef IMAGING_DECODER_JPEG2000_H
#define IMAGING_DECODER_JPEG2000_H

#include "imaging/decoder/frame.h"

/* f: width, height, n_samples and samples are there; fills samples, bits and is_signed. */
fl_code img_read_jpeg2000(img_frame *f, unsigned max_bits, const uint8_t *bytes, size_t n, fl_err *err) FL_MUST_USE;

#endif
