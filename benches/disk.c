/* The disk alone: how fast bytes that a program has in memory come to stable storage, and back.
 *
 *   cc -O3 -fopenmp -o disk benches/disk.c && ./disk DIRECTORY BYTES [WRITERS [MiB A PIECE]]
 *   ./disk --read FILE [READERS [MiB A PIECE]]          an existing file, read back alone
 *
 * Each writer has a part of one file, which it writes by pwrite in pieces, and then calls fsync. Before the file is read back,
 * the page cache is asked to forget it; "cached" tells which part of it had stayed, so that one knows whether the disk was read.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what, const char *path) {
    fprintf(stderr, "error: cannot %s %s: %s\n", what, path, strerror(errno));
    exit(1);
}

/* The part of a file that lies in the page cache. */
static double cached(int file, size_t bytes) {
    const size_t page = sysconf(_SC_PAGESIZE), pages = (bytes + page - 1) / page;
    unsigned char *resident = malloc(pages);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0);
    size_t there = 0;
    if (!resident || map == MAP_FAILED || mincore(map, bytes, resident)) fail("look at the pages of", "the file");
    for (size_t i = 0; i < pages; i++) there += resident[i] & 1;
    munmap(map, bytes);
    free(resident);
    return (double)there / pages;
}

typedef enum { WRITE, READ } Way;

/* Seconds to write or to read a file, by several at once. */
static double pass(const char *path, int file, size_t bytes, size_t piece, int workers, Way way) {
    const double start = omp_get_wtime();
#pragma omp parallel num_threads(workers)
    {
        const int worker = omp_get_thread_num();
        const size_t pieces = (bytes + piece - 1) / piece;
        char *buffer = aligned_alloc(4096, piece);
        if (!buffer) fail("find memory for", path);
        /* No two bytes in a row alike: a disk may be clever with zeros. */
        for (size_t i = 0; i < piece; i++) buffer[i] = (char)(i * 2654435761u >> 13);
        for (size_t p = pieces * worker / workers; p < pieces * (worker + 1) / workers; p++) {
            const size_t end = (p + 1) * piece < bytes ? (p + 1) * piece : bytes;
            for (size_t at = p * piece; at < end;) {
                char *here = buffer + (at - p * piece);
                const ssize_t moved = way == WRITE ? pwrite(file, here, end - at, at) : pread(file, here, end - at, at);
                if (moved <= 0) fail(way == WRITE ? "write" : "read", path);
                at += moved;
            }
        }
        if (way == WRITE && fsync(file)) fail("sync", path);
        free(buffer);
    }
    return omp_get_wtime() - start;
}

int main(int argc, char **argv) {
    const int read_only = argc > 1 && !strcmp(argv[1], "--read");
    if (argc < 3) {
        fprintf(stderr, "usage: disk DIRECTORY BYTES [WRITERS [MIB]]\n       disk --read FILE [READERS [MIB]]\n");
        return 2;
    }
    char made[4096];
    snprintf(made, sizeof made, "%s/disk-%d.bin", argv[1], (int)getpid());
    const char *path = read_only ? argv[2] : made;
    const int workers = argc > 3 ? atoi(argv[3]) : 1;
    const size_t piece = (size_t)(argc > 4 ? atoi(argv[4]) : 8) << 20;
    size_t bytes = read_only ? 0 : strtoull(argv[2], NULL, 10);
    const int file = open(path, read_only ? O_RDONLY : O_RDWR | O_CREAT | O_TRUNC, 0644);
    struct stat info;
    if (file < 0 || fstat(file, &info)) fail("open", path);
    if (read_only) bytes = info.st_size;
    if (bytes == 0 || workers < 1 || piece == 0) {
        fprintf(stderr, "error: bytes, writers and pieces must be above 0\n");
        return 2;
    }
    const double writing = read_only ? 0 : pass(path, file, bytes, piece, workers, WRITE);
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    const double stayed = cached(file, bytes), reading = pass(path, file, bytes, piece, workers, READ);
    printf("{\"program\": \"disk\", \"bytes\": %zu, \"workers\": %d, ", bytes, workers);
    if (!read_only) printf("\"write_seconds\": %.6f, \"write_gigabytes_per_second\": %.4f, ", writing, bytes / writing / 1e9);
    printf("\"read_seconds\": %.6f, \"read_gigabytes_per_second\": %.4f, \"cached\": %.3f}\n", reading, bytes / reading / 1e9, stayed);
    close(file);
    return read_only ? 0 : unlink(path) != 0;
}
