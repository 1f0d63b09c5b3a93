#include "train/augment.h"
#include "base/rng.h"
#include "crypto/hash.h"
#include "train/engine.h"
#include <string.h>

fl_hash nn_augment_key(uint64_t seed)
{
    static const char domain[] = "cordon augmentation v1";
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(seed >> (8 * i));
    return fl_sha256_2(domain, sizeof domain, bytes, sizeof bytes);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint32_t moved(uint32_t at, int by, uint32_t size)
{
    int64_t to = (int64_t)at + by;
    return to < 0 ? 0 : to >= size ? size - 1 : (uint32_t)to;
}

/* Pixel (i, j) of map is pixel (i - down, j - right) of the image, or of its mirror image. */
static void place(nn_map *map, const float *x, bool mirror, int down, int right)
{
    const size_t plane = (size_t)map->H * map->W;
    for (uint32_t i = 0; i < map->H; i++) {
        const float *row = x + (size_t)moved(i, -down, map->H) * map->W;
        float *pixel = map->at + i * map->row;
        for (uint32_t j = 0; j < map->W; j++, pixel += map->cs) {
            uint32_t from = moved(mirror ? map->W - 1 - j : j, mirror ? right : -right, map->W);
            for (uint32_t c = 0; c < map->C; c++)
                pixel[c] = row[c * plane + from];
            for (uint32_t c = map->C; c < map->cs; c++)
                pixel[c] = 0;
        }
    }
}

void nn_augment_image(const nn_augment *a, nn_map *map, uint64_t *dropout, const nn_dataset *d, nn_augment_at at)
{
    const float *x = d->images + (d->patient_first[at.patient] + (size_t)at.image) * nn_dataset_image_size(d);
    uint8_t message[48];
    *dropout = 0;
    if (!a->mirror && a->shift == 0 && !a->draws) {
        nn_map_write(map, x);
        return;
    }
    memcpy(message, d->patient_key[at.patient], 32);
    put_u32(message + 32, at.image);
    put_u32(message + 36, at.round);
    put_u32(message + 40, at.step);
    put_u32(message + 44, at.copy);
    const fl_hash h = fl_hmac(a->key.bytes, message, sizeof message);
    fl_rng rng;
    fl_rng_init(&rng, get_u64(h.bytes), get_u64(h.bytes + 8));
    const bool mirror = fl_rng_below(&rng, 2) == 1 && a->mirror;
    const int range = 2 * (int)a->shift + 1;
    const int down = (int)fl_rng_below(&rng, (uint64_t)range) - (int)a->shift;
    const int right = (int)fl_rng_below(&rng, (uint64_t)range) - (int)a->shift;
    *dropout = get_u64(h.bytes + 16);
    place(map, x, mirror, down, right);
}
