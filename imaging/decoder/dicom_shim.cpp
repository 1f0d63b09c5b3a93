#include "dcmtk/config/osconfig.h"

#include "dcmtk/dcmdata/dcdeftag.h"
#include "dcmtk/dcmdata/dcdict.h"
#include "dcmtk/dcmdata/dcfilefo.h"
#include "dcmtk/dcmdata/dcistrmb.h"
#include "dcmtk/dcmdata/dcitem.h"
#include "dcmtk/dcmdata/dcmetinf.h"
#include "dcmtk/dcmdata/dcpixel.h"
#include "dcmtk/dcmdata/dcpixseq.h"
#include "dcmtk/dcmdata/dcpxitem.h"
#include "dcmtk/dcmdata/dcrledrg.h"
#include "dcmtk/dcmdata/dcxfer.h"
#include "dcmtk/dcmjpeg/djdecode.h"
#include "dcmtk/dcmjpls/djdecode.h"
#include "dcmtk/oflog/oflog.h"

#include "imaging/decoder/dicom_shim.h"

#include <cstdlib>
#include <cstring>
#include <new>

struct dicom_file {
    DcmInputBufferStream stream;
    DcmFileFormat file;
    DcmPixelData *pixels = nullptr;
    DcmPixelSequence *sequence = nullptr;
};

namespace
{

fl_code fail(fl_err *err, fl_code code, const char *what, const OFCondition &c)
{
    return fl_fail(err, code, "DICOM: %s (DCMTK %u:%u)", what, c.module(), c.code());
}

/* No exception leaves this file. */
template <typename F> fl_code guarded(fl_err *err, F body) noexcept
{
    try {
        return body();
    } catch (const std::bad_alloc &) {
        return fl_fail(err, FL_EENV, "DICOM: out of memory");
    } catch (...) {
        return fl_fail(err, FL_EFORMAT, "DICOM: the decoder gave up");
    }
}

uint16_t get_u16(DcmItem *item, const DcmTagKey &tag, uint16_t fallback)
{
    Uint16 v;
    return item->findAndGetUint16(tag, v).good() ? v : fallback;
}

/* Text of the element, trimmed; longer than fits: "". */
void get_text(char *out, size_t size, DcmItem *item, const DcmTagKey &tag)
{
    OFString s;
    out[0] = 0;
    if (item->findAndGetOFStringArray(tag, s).bad())
        return;
    size_t first = s.find_first_not_of(' '), last = s.find_last_not_of(" \0", OFString_npos);
    if (first == OFString_npos || last == OFString_npos)
        return;
    s = s.substr(first, last - first + 1);
    if (s.length() < size)
        memcpy(out, s.c_str(), s.length() + 1);
}

/* The item that holds a macro's attributes: the first frame's group, the shared one, else the data set itself. */
DcmItem *group_item(DcmDataset *set, const DcmTagKey &macro)
{
    const DcmTagKey lists[] = {DCM_PerFrameFunctionalGroupsSequence, DCM_SharedFunctionalGroupsSequence};
    for (const DcmTagKey &list : lists) {
        DcmItem *groups = nullptr, *item = nullptr;
        if (set->findAndGetSequenceItem(list, groups, 0).good() && groups &&
            groups->findAndGetSequenceItem(macro, item, 0).good() && item)
            return item;
    }
    return set;
}

/* false: the table is there and makes no sense. */
bool get_table(dicom_table *out, DcmItem *item, const DcmTagKey &descriptor, const DcmTagKey &data)
{
    Uint16 n, bits, raw_first;
    DcmElement *e = nullptr;
    if (item->findAndGetElement(descriptor, e).bad() || !e)
        return true;
    const Uint16 *values = nullptr;
    unsigned long count = 0;
    if (e->ident() == EVR_SS) {
        Sint16 a, b, c;
        if (e->getSint16(a, 0).bad() || e->getSint16(b, 1).bad() || e->getSint16(c, 2).bad())
            return false;
        n = (Uint16)a, raw_first = (Uint16)b, bits = (Uint16)c;
        out->first = b;
    } else {
        if (e->getUint16(n, 0).bad() || e->getUint16(raw_first, 1).bad() || e->getUint16(bits, 2).bad())
            return false;
        out->first = raw_first;
    }
    out->n = n ? n : 65536;
    out->bits = bits;
    if (bits < 8 || bits > 16 || item->findAndGetUint16Array(data, values, &count).bad() || !values)
        return false;
    bool packed = count < out->n; /* two 8-bit values in a word */
    if (packed && (bits != 8 || count * 2 < out->n))
        return false;
    out->data = (uint16_t *)malloc(out->n * sizeof *out->data);
    if (!out->data)
        throw std::bad_alloc();
    for (uint32_t i = 0; i < out->n; i++)
        out->data[i] = packed ? (uint16_t)(values[i / 2] >> (i % 2 ? 8 : 0) & 0xff) : values[i];
    return true;
}

void classify(dicom_header *h, E_TransferSyntax syntax)
{
    h->syntax_name = DcmXfer(syntax).getXferName();
    switch (syntax) {
    case EXS_LittleEndianImplicit:
    case EXS_LittleEndianExplicit:
    case EXS_BigEndianExplicit:
    case EXS_DeflatedLittleEndianExplicit:
        h->coding = DICOM_PLAIN;
        break;
    case EXS_RLELossless:
        h->coding = DICOM_CODEC;
        h->is_rle = true;
        break;
    case EXS_JPEGLSLossless:
    case EXS_JPEGLSLossy:
        h->coding = DICOM_CODEC;
        h->is_jpegls = true;
        break;
    case EXS_JPEGProcess1:
    case EXS_JPEGProcess2_4:
    case EXS_JPEGProcess6_8:
    case EXS_JPEGProcess10_12:
    case EXS_JPEGProcess14:
    case EXS_JPEGProcess14SV1:
        h->coding = DICOM_CODEC;
        break;
    case EXS_JPEG2000LosslessOnly:
    case EXS_JPEG2000:
        h->coding = DICOM_JPEG2000;
        break;
    default:
        h->coding = DICOM_UNSUPPORTED;
    }
}

void read_terms(dicom_header *h, DcmDataset *set)
{
    get_text(h->photometric, sizeof h->photometric, set, DCM_PhotometricInterpretation);
    get_text(h->modality, sizeof h->modality, set, DCM_Modality);
    get_text(h->body_part, sizeof h->body_part, set, DCM_BodyPartExamined);
    get_text(h->view, sizeof h->view, set, DCM_ViewPosition);
    get_text(h->laterality, sizeof h->laterality, set, DCM_ImageLaterality);
    if (!h->laterality[0])
        get_text(h->laterality, sizeof h->laterality, set, DCM_Laterality);
    get_text(h->burned_in, sizeof h->burned_in, set, DCM_BurnedInAnnotation);
    get_text(h->sop_class, sizeof h->sop_class, set, DCM_SOPClassUID);
}

fl_code read_values(dicom_header *h, DcmDataset *set, fl_err *err)
{
    h->rows = get_u16(set, DCM_Rows, 0);
    h->columns = get_u16(set, DCM_Columns, 0);
    h->samples = get_u16(set, DCM_SamplesPerPixel, 1);
    h->allocated = get_u16(set, DCM_BitsAllocated, 0);
    h->stored = get_u16(set, DCM_BitsStored, h->allocated);
    h->high = get_u16(set, DCM_HighBit, (uint16_t)(h->stored - 1));
    h->is_signed = get_u16(set, DCM_PixelRepresentation, 0);
    h->planar = get_u16(set, DCM_PlanarConfiguration, 0);
    Sint32 frames = 1;
    if (set->tagExists(DCM_NumberOfFrames) && set->findAndGetSint32(DCM_NumberOfFrames, frames).bad())
        frames = 1;
    h->frames = frames < 1 ? 1 : (uint32_t)frames;

    DcmItem *rescale = group_item(set, DCM_PixelValueTransformationSequence);
    h->slope = 1;
    Float64 v;
    if (rescale->findAndGetFloat64(DCM_RescaleSlope, v).good())
        h->slope = v;
    if (rescale->findAndGetFloat64(DCM_RescaleIntercept, v).good())
        h->intercept = v;
    DcmItem *window = group_item(set, DCM_FrameVOILUTSequence);
    Float64 centre, width;
    if (window->findAndGetFloat64(DCM_WindowCenter, centre).good() &&
        window->findAndGetFloat64(DCM_WindowWidth, width).good()) {
        h->has_window = true;
        h->centre = centre;
        h->width = width;
        get_text(h->window_function, sizeof h->window_function, window, DCM_VOILUTFunction);
    }
    DcmItem *table = nullptr;
    if (set->findAndGetSequenceItem(DCM_ModalityLUTSequence, table, 0).good() && table &&
        !get_table(&h->modality_table, table, DCM_LUTDescriptor, DCM_LUTData))
        return fl_fail(err, FL_EREFUSED, "DICOM: the modality lookup table cannot be used");
    if (strcmp(h->photometric, "PALETTE COLOR") == 0) {
        const DcmTagKey tags[3][2] = {
            {DCM_RedPaletteColorLookupTableDescriptor, DCM_RedPaletteColorLookupTableData},
            {DCM_GreenPaletteColorLookupTableDescriptor, DCM_GreenPaletteColorLookupTableData},
            {DCM_BluePaletteColorLookupTableDescriptor, DCM_BluePaletteColorLookupTableData}};
        h->has_palette = true;
        for (unsigned i = 0; i < 3; i++)
            if (!get_table(&h->palette[i], set, tags[i][0], tags[i][1]) || !h->palette[i].data)
                return fl_fail(err, FL_EREFUSED, "DICOM: the colour palette cannot be used");
    }
    return FL_OK;
}

void find_pixels(dicom_file *f, dicom_header *h, DcmDataset *set)
{
    DcmElement *e = nullptr;
    if (set->findAndGetElement(DCM_PixelData, e).bad() || !e)
        return;
    f->pixels = dynamic_cast<DcmPixelData *>(e);
    h->has_pixels = f->pixels && f->pixels->getLength() > 0;
    if (!f->pixels || h->coding == DICOM_PLAIN || h->coding == DICOM_UNSUPPORTED)
        return;
    E_TransferSyntax syntax;
    const DcmRepresentationParameter *parameter = nullptr;
    f->pixels->getOriginalRepresentationKey(syntax, parameter);
    if (f->pixels->getEncapsulatedRepresentation(syntax, parameter, f->sequence).bad())
        f->sequence = nullptr;
    unsigned long items = f->sequence ? f->sequence->card() : 0;
    h->fragments = items > 1 ? (uint32_t)(items - 1) : 0; /* the first is the offset table */
    h->has_pixels = h->fragments > 0;
}

} // namespace

bool dicom_start(void)
{
    OFLog::configure(OFLogger::OFF_LOG_LEVEL);
    DcmRLEDecoderRegistration::registerCodecs();
    DJDecoderRegistration::registerCodecs(EDC_never, EUC_never);
    DJLSDecoderRegistration::registerCodecs(EJLSUC_never, EJLSPC_colorByPixel);
    return dcmDataDict.isDictionaryLoaded();
}

fl_code dicom_open(dicom_file **out, dicom_header *h, const uint8_t *bytes, size_t n, fl_err *err)
{
    *out = nullptr;
    *h = dicom_header{};
    return guarded(err, [&]() -> fl_code {
        dicom_file *f = *out = new dicom_file;
        f->stream.setBuffer(bytes, (offile_off_t)n);
        f->stream.setEos();
        f->file.transferInit();
        OFCondition c = f->file.read(f->stream);
        f->file.transferEnd();
        if (c == EC_StreamNotifyClient || c == EC_EndOfStream || c == EC_InvalidStream)
            return fail(err, FL_EFORMAT, "truncated, or a length in it is wrong", c);
        if (c == EC_MemoryExhausted)
            return fail(err, FL_EFORMAT, "a length in it is wrong, or it needs more memory than a file may take", c);
        if (c.bad())
            return fail(err, FL_EFORMAT, "damaged, or not DICOM", c);
        DcmDataset *set = f->file.getDataset();
        char uid[65];
        get_text(uid, sizeof uid, f->file.getMetaInfo(), DCM_TransferSyntaxUID);
        E_TransferSyntax named = DcmXfer(uid).getXfer(); /* one that DCMTK does not know is read as something else */
        classify(h, uid[0] && named == EXS_Unknown ? EXS_Unknown : set->getOriginalXfer());
        read_terms(h, set);
        find_pixels(f, h, set);
        return h->has_pixels ? read_values(h, set, err) : FL_OK;
    });
}

void dicom_close(dicom_file *f, dicom_header *h)
{
    free(h->modality_table.data);
    for (dicom_table &t : h->palette)
        free(t.data);
    *h = dicom_header{};
    delete f;
}

void dicom_identify(char *out, size_t size, dicom_file *f, dicom_identity which)
{
    out[0] = 0;
    (void)guarded(nullptr, [&]() -> fl_code {
        const DcmTagKey tags[] = {DCM_PatientID, DCM_IssuerOfPatientID, DCM_SOPInstanceUID};
        get_text(out, size, f->file.getDataset(), tags[which]);
        return FL_OK;
    });
}

fl_code dicom_plain_bytes(const uint8_t **bytes, uint64_t *n, dicom_file *f, fl_err *err)
{
    return guarded(err, [&]() -> fl_code {
        Uint8 *p = nullptr;
        Uint16 *words = nullptr;
        OFCondition c = f->pixels->getTag().getEVR() == EVR_OB ? f->pixels->getUint8Array(p)
                                                               : f->pixels->getUint16Array(words);
        if (c.bad() || (!p && !words))
            return fail(err, FL_EFORMAT, "the pixels cannot be read", c);
        *bytes = p ? p : reinterpret_cast<const uint8_t *>(words);
        *n = f->pixels->getLength();
        return FL_OK;
    });
}

fl_code dicom_decode_frame(uint8_t *out, uint32_t n, char photometric[17], dicom_file *f, fl_err *err)
{
    return guarded(err, [&]() -> fl_code {
        DcmDataset *set = f->file.getDataset();
        Uint32 size = 0, fragment = 0;
        OFCondition c = f->pixels->getUncompressedFrameSize(set, size);
        if (c.bad() || size != n)
            return fail(err, FL_EFORMAT, "the size of a frame does not fit its header", c);
        OFString model;
        c = f->pixels->getUncompressedFrame(set, 0, fragment, out, n + n % 2, model);
        if (c.bad() || model.length() > 16)
            return fail(err, FL_EFORMAT, "the compressed pixels are damaged, truncated or of a kind not supported", c);
        strcpy(photometric, model.c_str());
        return FL_OK;
    });
}

fl_code dicom_fragment(const uint8_t **bytes, uint64_t *n, dicom_file *f, uint32_t i, fl_err *err)
{
    return guarded(err, [&]() -> fl_code {
        DcmPixelItem *item = nullptr;
        Uint8 *p = nullptr;
        OFCondition c = f->sequence->getItem(item, i + 1);
        if (c.good())
            c = item->getUint8Array(p);
        if (c.bad() || !p)
            return fail(err, FL_EFORMAT, "a fragment of the compressed pixels cannot be read", c);
        *bytes = p;
        *n = item->getLength();
        return FL_OK;
    });
}
