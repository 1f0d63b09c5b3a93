/*
 * sim_phantom - synthetic chest-like radiographs with invented patients, for demonstrations and tests.
 *
 *     OUT/<hospital>/IMG0001.dcm ...   160 x 160, 12 bits in 16, explicit VR little endian, CR image storage
 *     OUT/<hospital>/labels.csv        file,label,split                     (the DICOM file brings its patient)
 *     OUT/manifest.csv                 file,label,label_name,patient_id,hospital,split
 *     OUT/planted.json                 {"files": {"alder/IMG0001.dcm": [text, ...], ...}, "strings": [text, ...]}
 *
 * label is the class number in both files: 0 normal, 1 pneumonia. Diseased patients have one to three consolidations
 * (blurred opacities of 15 to 30 pixels radius) in the lung fields, on every image. About one patient in five has two
 * or three images. Hospitals (alder, birch, cedar, ...) differ in class balance, exposure, contrast, sharpness, noise
 * and header conventions; the second (birch) stores MONOCHROME1. Splits train, val, test: 70/15/15 by patient, within
 * each class of a hospital.
 *
 * Every file carries planted, obviously invented identity (PatientName, PatientID, AccessionNumber, address, private
 * elements, a nested sequence); "strings" lists each such text once, all of them 8 bytes or longer: none may be found
 * in anything a node keeps or sends. patient_id in the manifest is a plain number of ours, not the planted PatientID.
 *
 * Everything is a function of (n_hospitals, n_patients, seed). out_dir is made; existing files are replaced.
 */
#ifndef SIM_PHANTOM_H
#define SIM_PHANTOM_H

#include "base/err.h"
#include <stdint.h>

#define SIM_PHANTOM_SIDE          160
#define SIM_PHANTOM_MAX_HOSPITALS 64
#define SIM_PHANTOM_MAX_PATIENTS  20000

/* n_patients is per hospital. FL_EFORMAT for a number out of range, FL_EENV when a file cannot be written. */
fl_code sim_phantom(const char *out_dir, unsigned n_hospitals, unsigned n_patients, uint64_t seed,
                    fl_err *err) FL_MUST_USE;

#endif
