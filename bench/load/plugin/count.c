/* A plugin for QEMU's user mode emulation that counts the instructions of a process.
 *
 * The counts are in a file that is mapped into memory, so that they can be read while
 * the process runs: one 64-bit number in each line of 64 bytes, a line for each thread.
 * The total is their sum. A thread adds the length of every block of instructions that
 * it begins, which counts what is executed but for blocks that a signal breaks off.
 *
 * The functions are declared here, as QEMU's header is not installed everywhere.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_info_t;

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *), int flags, void *data);

EXPORT int qemu_plugin_version = 1;

enum { threads = 4096 };

static struct {
    uint64_t instructions;
    uint64_t unused[7];
} *count;

static void executed(unsigned int thread, void *instructions) {
    count[thread % threads].instructions += (uintptr_t)instructions;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)(uintptr_t)qemu_plugin_tb_n_insns(tb));
}

/* The one argument is counts=NAME. */
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "counts=", 7) != 0)
        return -1;
    int fd = open(argv[0] + 7, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, threads * sizeof *count) != 0)
        return -1;
    count = mmap(NULL, threads * sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (count == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
