/*
 * img_scan - walks a DICOM file's elements before DCMTK sees them, without recursion.
 *
 * DCMTK calls itself once for each nested sequence, and some thousands of them overflow its stack. This scan follows
 * sequences and items of defined and undefined length, in implicit, explicit, big endian and deflated data sets, and
 * refuses (FL_EREFUSED) a nesting deeper than max_depth sequences. A value of unknown kind that begins like an item is
 * taken for a sequence too.
 *
 * It judges nothing else: where the bytes stop making sense it stops, and leaves the verdict to the decoder. Time is
 * linear in n; a deflated data set is inflated to at most IMG_SCAN_MAX_INFLATED bytes (more is FL_EREFUSED).
 */
#ifndef IMAGING_DECODER_SCAN_H
#define IMAGING_DECODER_SCAN_H

#include "base/err.h"
#include <stdint.h>

#define IMG_SCAN_MAX_DEPTH    32
#define IMG_SCAN_MAX_INFLATED (256u << 20)

fl_code img_scan(const uint8_t *bytes, size_t n, unsigned max_depth, fl_err *err) FL_MUST_USE;

#endif
