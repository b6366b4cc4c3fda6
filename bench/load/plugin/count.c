/* A plugin for QEMU's user mode emulation that counts the instructions of a process.
 *
 * The counts are in a file that is mapped into memory, so that they can be read while
 * the process runs. First, one 64-bit number in each line of 64 bytes, a line for each
 * thread, whose sum is the total: a thread adds the length of every block of
 * instructions that it begins, which counts what is executed but for blocks that a
 * signal breaks off. Then three 64-bit numbers for each block: address, length, and how
 * often it ran, which threads that run the same block at the same moment may count
 * short.
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
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*cb)(unsigned int, void *), int flags, void *data);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr, uint64_t add);

EXPORT int qemu_plugin_version = 1;

enum { threads = 4096, blocks = 1 << 20 };

static struct counts {
    struct {
        uint64_t instructions;
        uint64_t unused[7];
    } thread[threads];
    struct {
        uint64_t address, length, times;
    } block[blocks];
} *counts;

static uint32_t known;

static void executed(unsigned int thread, void *instructions) {
    counts->thread[thread % threads].instructions += (uintptr_t)instructions;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(tb);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)(uintptr_t)length);
    uint32_t at = __atomic_fetch_add(&known, 1, __ATOMIC_RELAXED);
    if (at >= blocks)
        return;
    counts->block[at].address = qemu_plugin_tb_vaddr(tb);
    counts->block[at].length = length;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, 0 /* add */, &counts->block[at].times, 1);
}

/* The one argument is counts=NAME. */
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info, int argc, char **argv) {
    (void)info;
    if (argc != 1 || strncmp(argv[0], "counts=", 7) != 0)
        return -1;
    int fd = open(argv[0] + 7, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *counts) != 0)
        return -1;
    counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (counts == MAP_FAILED)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
