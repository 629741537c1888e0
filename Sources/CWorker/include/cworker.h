/* What the host and keel-worker say to each other, and the system calls that the Glibc module lacks.
 *
 * Private: both ends come from one build, so nothing here is ABI.
 *
 * The worker has a stream socket as descriptor 3 and one shared memory file as descriptor 4. A request is a
 * kw_request on the socket; what belongs to it lies in the file. The answer is a row of kw_frames on the
 * socket: any number of KW_LOG, then one KW_DONE, each with `length` bytes behind it.
 *
 * The file: [output, output_cap bytes][input, input_cap bytes]. The worker maps the input read-only.
 *   output: kw_progress, zeros up to KW_PAGE, KW_GUARD guard bytes, what the callback writes, KW_GUARD guard bytes
 *   input:  kw_control, zeros up to KW_PAGE, then a stream of 8-byte words (below)
 *
 * Streams, in both directions: u64 and f64 are one word; a text is its length, its bytes, a NUL, and zeros up
 * to the next word; the length KW_ABSENT is a text that is not there, without bytes.
 *
 *   describe  text path
 *   setup     u64 mode (KW_PLUGIN, KW_NATIVE), text path, text component, u64 kind, text instance, u64 seed,
 *             u64 n, n x { text name, u64 KW_PARAM_*, f64 number, text string, u64 m, m x f64, text json }, context;
 *             KW_NATIVE: `path` is the library, then text symbol, text signature (native.h)
 *   load      u64 version, text state, context
 *   save      u64 limit (a longer state is not sent, only its length), context
 *   call      context, then a batch
 *   context   u64 step, f64 epoch, text phase, u64 n, n x { text name, f64 value }
 *   batch     u64 rows, u64 has_ids, [rows x u64],
 *             u64 n, n x { text name, rows x text },
 *             u64 has_tokens (2: the columns tokens, mask follow from them), [rows x { u64 prompt, u64 total, ids, pad }],
 *             u64 n, n x { text name, u64 code, u64 bits, u64 ndim, ndim x u64, pad to 64, cells, pad },
 *             u64 epoch, u64 count and count x u64 (order, feedback)
 *   done      u64 status, u64 failure kind, text what (KW_ABSENT: none),
 *             u64 n, n x text (metric names), u64 m, m x { u32 name, u32 how, f64 value },
 *             u64 n, n x { text name, u64 code, u64 bits, u64 ndim, ndim x u64, cells, pad },
 *             u64 n, n x f64 (milliseconds of each row), u64 n, n x text (questions),
 *             u64 n, n x text (needs), u64 state length (KW_ABSENT: none), text state (absent when over the limit),
 *             text image (describe: see descriptor.c)
 */
#ifndef CWORKER_H
#define CWORKER_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KW_SOCKET = 3, KW_DATA = 4 };
enum { KW_PAGE = 4096, KW_GUARD = 1024, KW_GUARD_BYTE = 0xA5 };
/* The minor version of the contract that the worker's host table offers; the host's own is the same. */
enum { KW_MINOR = 0 };
/* A score that was not written: a NaN of its own. */
static const uint32_t KW_UNWRITTEN = 0x7FC04B45u;
static const uint64_t KW_ABSENT = UINT64_MAX;

enum { KW_DESCRIBE = 1, KW_SETUP = 2, KW_LOAD = 3, KW_SAVE = 4, KW_CALL = 5, KW_QUIT = 6 };
enum { KW_PLUGIN = 0, KW_NATIVE = 1 };
/* The callback of a KW_CALL. */
enum { KW_SCORE = 1, KW_ASK = 2, KW_ORDER = 3, KW_FEEDBACK = 4 };
enum {
    KW_PARAM_NUMBER = 0,
    KW_PARAM_CHOICE = 1,
    KW_PARAM_STRING = 2,
    KW_PARAM_LIST = 3,
    KW_PARAM_JSON = 4
};
enum { KW_LOG = 1, KW_DONE = 2 };
/* What the text of a failure is: a sentence, or a name that the host makes a sentence of. */
enum {
    KW_SAYS = 0,
    KW_UNDECLARED_COLUMN = 1,
    KW_UNDECLARED_PARAMETER = 2,
    KW_UNDECLARED_GIVES = 3,
    KW_CANNOT_LOAD = 4, /* what the loader says */
    KW_NO_ENTRY = 5,
    KW_NO_PLUGIN = 6, /* the entry function returned nothing */
    KW_NO_COMPONENT = 7
};

typedef struct kw_request {
    uint32_t op;
    uint32_t callback; /* of KW_CALL */
    uint64_t output_cap, input_cap;
    uint64_t input_size;  /* of the stream */
    uint64_t output_size; /* bytes that the callback writes */
} kw_request;

typedef struct kw_frame {
    uint32_t type;
    uint32_t level; /* of KW_LOG */
    uint64_t length;
} kw_frame;

/* Written by the worker while a callback runs. */
typedef struct kw_progress {
    uint32_t touched; /* the row last asked for, plus one */
} kw_progress;

/* Written by the host while a callback runs. */
typedef struct kw_control {
    uint32_t cancelled;
} kw_control;

/* A memory file that cannot shrink under a reader. */
static inline int kw_memory_file(const char *name) {
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0)
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
    return fd;
}

/* Both ends of a pipe, neither inherited. */
static inline int kw_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

/* A counter that wakes who polls it. */
static inline int kw_event(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

/* A descriptor that becomes readable when the process ends; -1 where the kernel has none. */
static inline int kw_process_descriptor(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

/* Starts a worker as the leader of a process group of its own, with all signals as they are by default: these
 * descriptors are its socket, memory, stdout and stderr, it has no others. `variables` ends with null. Returns 0 or
 * an errno. */
int kw_spawn(const char *program, const int descriptors[4], char *const variables[], pid_t *child);

/* The file that an address was loaded from; null when that cannot be told. */
const char *kw_file_of(const void *address);

#endif
