#include "imaging/terms.h"

#include <string.h>

/* clang-format off */
static const char *const modalities[] = {
    "AR", "BI", "CR", "CT", "DG", "DX", "ECG", "ES", "GM", "IO", "IVOCT", "IVUS", "LS", "MG", "MR", "NM", "OCT", "OP",
    "OPT", "OT", "PT", "PX", "RF", "RTDOSE", "RTIMAGE", "SC", "SEG", "SM", "TG", "US", "XA", "XC", NULL,
};
static const char *const body_parts[] = {
    "ABDOMEN", "ABDOMENPELVIS", "ADRENAL", "ANKLE", "AORTA", "ARM", "BACK", "BLADDER", "BRAIN", "BREAST", "CALCANEUS",
    "CAROTID", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CLAVICLE", "COCCYX", "COLON", "CSPINE", "CTSPINE", "EAR",
    "ELBOW", "ESOPHAGUS", "EXTREMITY", "EYE", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "GALLBLADDER", "HAND",
    "HEAD", "HEADNECK", "HEART", "HIP", "HUMERUS", "JAW", "KIDNEY", "KNEE", "LEG", "LIVER", "LSPINE", "LSSPINE", "LUNG",
    "MANDIBLE", "MAXILLA", "MEDIASTINUM", "MOUTH", "NECK", "NECKCHEST", "NOSE", "ORBIT", "OVARY", "PANCREAS", "PAROTID",
    "PATELLA", "PELVIS", "PENIS", "PROSTATE", "RECTUM", "RIB", "SACRUM", "SCAPULA", "SCROTUM", "SELLA", "SHOULDER",
    "SKULL", "SPINE", "SPLEEN", "SSPINE", "STERNUM", "STOMACH", "TESTIS", "THIGH", "THORAX", "THUMB", "THYMUS",
    "THYROID", "TIBIA", "TLSPINE", "TMJ", "TOE", "TONGUE", "TRACHEA", "TSPINE", "UTERUS", "WHOLEBODY", "WRIST",
    "ZYGOMA", NULL,
};
static const char *const views[] = {
    "AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAT", "LATERAL", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE",
    "CC", "MLO", "ML", "LM", "LMO", "FB", "SIO", "XCC", "XCCL", "XCCM", "SUPINE", "ERECT", NULL,
};
static const char *const lateralities[] = {"R", "L", "B", "U", NULL};
static const char *const photometrics[] = {
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422",
    "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", NULL,
};
static const char *const *const tables[IMG_TERM_KINDS] = {modalities, body_parts, views, lateralities, photometrics};
/* clang-format on */

const char *img_term(img_term_kind kind, const char *text)
{
    for (const char *const *row = tables[kind]; *row; row++)
        if (strcmp(*row, text) == 0)
            return *row;
    return "";
}
