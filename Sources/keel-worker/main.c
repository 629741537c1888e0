#include "worker.h"
#include "native.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* keel-worker PARENT: runs one component of one plugin file for keel, which starts it and talks to it as
 * cworker.h says. A plugin that crashes takes this process with it and nothing else. */

static const unsigned char *input;
static unsigned char *output;
static uint64_t input_cap, output_cap;

/* The host is gone, or no longer speaks our language. */
static void leave(int status) { _exit(status); }

void send_frame(uint32_t type, uint32_t level, const void *bytes, size_t n) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    kw_frame frame = {type, level, n};
    struct iovec parts[2] = {{&frame, sizeof frame}, {(void *)(uintptr_t)bytes, n}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    pthread_mutex_lock(&lock);
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = sendmsg(KW_SOCKET, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            leave(0);
        for (int i = 0; i < 2; i++) {
            size_t done = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + done;
            parts[i].iov_len -= done;
            sent -= (ssize_t)done;
        }
    }
    pthread_mutex_unlock(&lock);
}

static bool receive(kw_request *request) {
    size_t n = 0;
    while (n < sizeof *request) {
        ssize_t got = recv(KW_SOCKET, (char *)request + n, sizeof *request - n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    return true;
}

static void *map(uint64_t size, int protection, uint64_t offset) {
    if (size == 0)
        return 0;
    void *start = mmap(0, size, protection, MAP_SHARED, KW_DATA, (off_t)offset);
    if (start == MAP_FAILED) {
        perror("keel-worker: cannot map the shared memory");
        leave(71);
    }
    return start;
}

static void map_regions(const kw_request *request) {
    if (request->output_cap == output_cap && request->input_cap == input_cap)
        return;
    if (output)
        munmap(output, output_cap);
    if (input)
        munmap((void *)(uintptr_t)input, input_cap);
    output_cap = request->output_cap;
    input_cap = request->input_cap;
    output = map(output_cap, PROT_READ | PROT_WRITE, 0);
    input = map(input_cap, PROT_READ, output_cap);
    the_control = (const volatile kw_control *)input;
}

static reader open_stream(const kw_request *request) {
    return (reader){input + KW_PAGE, input + KW_PAGE + request->input_size};
}

/* Memory that lives as long as the instance. */
static char *keep(keel_str text) {
    char *copy = allocate(text.n + 1);
    if (text.n)
        memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return copy;
}

static keel_str keep_text(keel_str text) { return text.p ? (keel_str){keep(text), text.n} : text; }

static void describe(const kw_request *request) {
    reader r = open_stream(request);
    call *c = call_begin(STAGE_CREATE);
    buffer image = {0, 0, 0};
    const keel_plugin *plugin = plugin_load(c, read_text(&r).p);
    if (plugin)
        plugin_image(plugin, &image);
    call_end(c, c->status, 0, plugin ? &image : 0);
    free(image.start);
}

static void read_parameters(reader *r) {
    the_instance.parameter_count = (size_t)read_u64(r);
    the_instance.parameters = allocate(the_instance.parameter_count *
                                       sizeof *the_instance.parameters);
    for (size_t i = 0; i < the_instance.parameter_count; i++) {
        parameter *p = &the_instance.parameters[i];
        p->name = keep(read_text(r));
        p->kind = read_u64(r);
        p->number = read_f64(r);
        p->string = keep_text(read_text(r));
        p->count = (size_t)read_u64(r);
        const void *list = read_bytes(r, p->count * sizeof(double));
        double *copy = allocate(p->count * sizeof(double));
        if (p->count)
            memcpy(copy, list, p->count * sizeof(double));
        p->list = copy;
        p->json = keep_text(read_text(r));
    }
}

/* Keeps the columns that create has asked for. */
static void keep_needs(const call *c) {
    the_instance.extra_need_count = c->need_count;
    the_instance.extra_needs = allocate((c->need_count + 1) * sizeof(char *));
    reader r = {c->needs.start, c->needs.start + c->needs.n};
    for (size_t i = 0; i < c->need_count; i++)
        the_instance.extra_needs[i] = keep(read_text(&r));
    the_instance.extra_needs[c->need_count] = 0;
}

static void set_up(const kw_request *request) {
    reader r = open_stream(request);
    call *c = call_begin(STAGE_CREATE);
    uint64_t mode = read_u64(&r);
    keel_str path = read_text(&r), component = read_text(&r);
    int32_t kind = (int32_t)read_u64(&r);
    the_instance.name = keep(read_text(&r));
    the_instance.seed = read_u64(&r);
    read_parameters(&r);
    call_context(c, &r);
    bool is_found = false;
    if (mode == KW_PLUGIN) {
        const keel_plugin *plugin = plugin_load(c, path.p);
        is_found = plugin && plugin_find(plugin, component.p, kind, &the_instance.component);
        if (plugin && !is_found)
            call_fail(c, KEEL_E_MISSING, KW_NO_COMPONENT, "", 0);
    }
    if (mode == KW_NATIVE) {
        static native_function function;
        function.library = keep(path);
        function.symbol = keep(read_text(&r));
        function.signature = keep(read_text(&r));
        native_component(&function, &the_instance.component);
        is_found = true;
    }
    if (is_found && the_instance.component.create) {
        the_instance.self = the_instance.component.create((keel_call *)c);
        keep_needs(c);
    }
    call_end(c, KEEL_OK, 0, 0);
}

static void load_state(const kw_request *request) {
    reader r = open_stream(request);
    call *c = call_begin(STAGE_LOAD);
    uint32_t version = (uint32_t)read_u64(&r);
    keel_str state = read_text(&r);
    call_context(c, &r);
    keel_status status = the_instance.component.load(the_instance.self, (keel_call *)c, version,
                                                     state.p, state.n);
    call_end(c, status, 0, 0);
}

static void save_state(const kw_request *request) {
    reader r = open_stream(request);
    call *c = call_begin(STAGE_SAVE);
    uint64_t limit = read_u64(&r);
    call_context(c, &r);
    keel_status status = the_instance.component.save(the_instance.self, (keel_call *)c);
    call_end(c, status, limit, 0);
}

static void run_callback(const kw_request *request) {
    static const int stages[] = {0, STAGE_SCORE, STAGE_ASK, STAGE_ORDER, STAGE_FEEDBACK};
    const keel_component *own = &the_instance.component;
    reader r = open_stream(request);
    call *c = call_begin(stages[request->callback]);
    keel_status status = KEEL_OK;
    void *out = output + KW_PAGE + KW_GUARD, *self = the_instance.self;
    keel_call *handle = (keel_call *)c;
    call_context(c, &r);
    call_batch(c, &r);
    c->progress = (volatile kw_progress *)output;
    switch (request->callback) {
    case KW_SCORE:
        c->scores = out;
        if (own->score)
            status = own->score(self, handle, c->rows, out);
        break;
    case KW_ASK:
        if (own->ask)
            status = own->ask(self, handle, c->rows);
        break;
    case KW_ORDER:
        if (own->order)
            status = own->order(self, handle, c->order_epoch, out, request->output_size / 8);
        break;
    case KW_FEEDBACK:
        if (own->feedback)
            status = own->feedback(self, handle, c->numbers, c->number_count);
        break;
    default:
        break;
    }
    call_end(c, status, 0, 0);
}

/* No core dumps (1 also stops those that go through a pipe), first to go when memory runs out, gone when the
 * host is gone. */
static void settle_in(pid_t parent) {
    struct rlimit none = {1, 1};
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        leave(0);
    int adjust = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (adjust >= 0) {
        (void)!write(adjust, "1000", 4);
        close(adjust);
    }
    fcntl(KW_SOCKET, F_SETFD, FD_CLOEXEC);
    fcntl(KW_DATA, F_SETFD, FD_CLOEXEC);
    setvbuf(stdout, 0, _IOLBF, 0);
}

int main(int count, char **arguments) {
    if (count != 2) {
        fputs("keel-worker runs plugins for keel, which starts it; it is no command of its own\n",
              stderr);
        return 64;
    }
    settle_in((pid_t)atol(arguments[1]));
    kw_request request;
    while (receive(&request)) {
        map_regions(&request);
        switch (request.op) {
        case KW_DESCRIBE:
            describe(&request);
            break;
        case KW_SETUP:
            set_up(&request);
            break;
        case KW_LOAD:
            load_state(&request);
            break;
        case KW_SAVE:
            save_state(&request);
            break;
        case KW_CALL:
            run_callback(&request);
            break;
        default:
            /* The host waits for a moment only, should a plugin hang here. */
            if (the_instance.component.create && the_instance.component.destroy)
                the_instance.component.destroy(the_instance.self);
            fflush(0);
            leave(0);
        }
    }
    leave(0);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
/* The host tells crashes apart by their signals. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0:handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigill=0:handle_"
           "sigfpe=0";
}
#endif
#if __has_feature(thread_sanitizer)
const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return "handle_segv=0:handle_abort=0:handle_sigbus=0:handle_sigill=0:handle_sigfpe=0";
}
#endif
#endif
