/*
 * Runs a fuzz target over every file of the folders given on the command line,
 * so that a corpus is an ordinary test where there is no libFuzzer.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return -1;
    uint8_t *bytes = malloc(1 << 22);
    size_t n = bytes ? fread(bytes, 1, 1 << 22, f) : 0;
    fclose(f);
    /* A copy of the exact size lets the sanitizer see a read past its end. */
    uint8_t *exact = malloc(n ? n : 1);
    for (size_t i = 0; exact && i < n; i++)
        exact[i] = bytes[i];
    if (exact)
        LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    free(bytes);
    return 0;
}

int main(int argc, char **argv)
{
    size_t n_files = 0;
    for (int a = 1; a < argc; a++) {
        DIR *dir = opendir(argv[a]);
        if (!dir) {
            fprintf(stderr, "%s: cannot open the corpus\n", argv[a]);
            return 1;
        }
        for (struct dirent *e; (e = readdir(dir));) {
            if (e->d_name[0] == '.')
                continue;
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[a], e->d_name);
            if (run_file(path) == 0)
                n_files++;
        }
        closedir(dir);
    }
    printf("%zu inputs\n", n_files);
    return n_files == 0;
}
