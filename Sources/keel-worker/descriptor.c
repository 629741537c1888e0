#include "worker.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

const keel_plugin *plugin_load(call *c, const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!library) {
        const char *why = dlerror();
        call_fail(c, KEEL_E_UNSUPPORTED, KW_CANNOT_LOAD, why ? why : "unknown reason",
                  why ? strnlen(why, 4096) : 14);
        return 0;
    }
    const keel_plugin *(*entry)(void);
    *(void **)&entry = dlsym(library, "keel_plugin_v1");
    if (!entry) {
        call_fail(c, KEEL_E_MISSING, KW_NO_ENTRY, "", 0);
        return 0;
    }
    const keel_plugin *plugin = entry();
    if (!plugin)
        call_fail(c, KEEL_E_INVALID, KW_NO_PLUGIN, "", 0);
    return plugin;
}

/* The first bytes of a struct that says its own size, zero behind them. */
static void copy_struct(void *out, size_t size, const void *from) {
    uint32_t given;
    memcpy(&given, from, sizeof given);
    memset(out, 0, size);
    memcpy(out, from, given < size ? given : size);
}

bool plugin_find(const keel_plugin *p, const char *name, int32_t kind, keel_component *out) {
    keel_plugin plugin;
    copy_struct(&plugin, sizeof plugin, p);
    for (size_t i = 0; plugin.components && plugin.components[i] && i < 1024; i++) {
        copy_struct(out, sizeof *out, plugin.components[i]);
        if (out->kind == kind && out->name && strcmp(out->name, name) == 0)
            return true;
    }
    return false;
}

/* ---- the image: the whole descriptor in one block, its pointers as offsets into it
 *
 * u64 root, u64 n, n x u64 (where pointers lie), the block. The host puts the block into its own memory, adds
 * its address to every pointer, and reads the result as if it were the plugin's. Callbacks are not pointers of
 * the block: they stay as they are and only tell that something is there. Offset 0 is the null pointer. */

typedef struct image {
    buffer block, pointers;
    size_t pointer_count;
} image;

/* Room for `n` bytes; its offset. */
static size_t place(image *m, const void *bytes, size_t n) {
    put_pad(&m->block);
    size_t at = m->block.n;
    put_bytes(&m->block, bytes, n);
    put_pad(&m->block);
    return at;
}

static void point(image *m, size_t at, size_t target) {
    uint64_t offset = target;
    memcpy(m->block.start + at, &offset, sizeof offset);
    if (!target)
        return;
    put_u64(&m->pointers, at);
    m->pointer_count++;
}

/* The longest text that the host reads is one byte shorter than this. */
enum { LONGEST = 1 << 16 };

static size_t place_text(image *m, const char *text) {
    if (!text)
        return 0;
    size_t n = strnlen(text, LONGEST), at = place(m, text, n);
    static const unsigned char zeros[8] = {0};
    put_bytes(&m->block, zeros, 8);
    return at;
}

static size_t place_list(image *m, const keel_name *list) {
    if (!list)
        return 0;
    size_t n = 0;
    while (n < 4096 && list[n])
        n++;
    void *zeros = calloc(n + 1, sizeof(char *));
    size_t at = place(m, zeros, (n + 1) * sizeof(char *));
    free(zeros);
    for (size_t i = 0; i < n; i++)
        point(m, at + i * sizeof(char *), place_text(m, list[i]));
    return at;
}

#define TEXT(TYPE, FIELD) point(m, at + offsetof(TYPE, FIELD), place_text(m, own.FIELD))
#define LIST(TYPE, FIELD) point(m, at + offsetof(TYPE, FIELD), place_list(m, own.FIELD))

static void place_param(image *m, size_t at, const keel_param *from) {
    const keel_param own = *from;
    memcpy(m->block.start + at, &own, sizeof own);
    TEXT(keel_param, name);
    TEXT(keel_param, text);
    LIST(keel_param, choices);
    TEXT(keel_param, help);
}

static void place_phase(image *m, size_t at, const keel_phase *from) {
    const keel_phase own = *from;
    memcpy(m->block.start + at, &own, sizeof own);
    TEXT(keel_phase, name);
    TEXT(keel_phase, data);
    LIST(keel_phase, needs);
    LIST(keel_phase, trains);
    TEXT(keel_phase, reduction);
    TEXT(keel_phase, epochs);
    TEXT(keel_phase, steps);
}

/* Room for `count` structs of `size` bytes. */
static size_t place_room(image *m, size_t count, size_t size) {
    void *zeros = calloc(count ? count : 1, size);
    size_t at = place(m, zeros, count * size);
    free(zeros);
    return at;
}

/* The element of an array with a stride, in this build's layout. */
static void element(void *out, size_t size, const void *start, size_t stride, size_t index) {
    memset(out, 0, size);
    memcpy(out, (const char *)start + index * stride, stride < size ? stride : size);
}

/* A size that no struct has is passed on as it is, for the host to refuse. */
static bool is_size(uint32_t size) { return size >= 16 && size <= LONGEST; }

static size_t place_component(image *m, const keel_component *from) {
    if (!is_size(from->size))
        return place(m, from, 16);
    keel_component own;
    copy_struct(&own, sizeof own, from);
    own.size = from->size < sizeof own ? from->size : (uint32_t)sizeof own;
    bool has_params = own.params && own.param_stride >= 16 && own.param_count <= 4096;
    bool has_phases = own.phases && own.phase_stride >= 16 && own.phase_count <= 64;
    keel_component plain = own;
    if (has_params)
        plain.param_stride = sizeof(keel_param);
    if (has_phases)
        plain.phase_stride = sizeof(keel_phase);
    size_t at = place(m, &plain, sizeof plain);
    TEXT(keel_component, name);
    TEXT(keel_component, help);
    TEXT(keel_component, data);
    LIST(keel_component, needs);
    LIST(keel_component, gives);
    LIST(keel_component, heads);
    TEXT(keel_component, reduction);
    size_t params = own.params ? place_room(m, has_params ? own.param_count : 1, sizeof(keel_param))
                               : 0;
    point(m, at + offsetof(keel_component, params), params);
    for (size_t i = 0; has_params && i < own.param_count; i++) {
        keel_param one;
        element(&one, sizeof one, own.params, own.param_stride, i);
        place_param(m, params + i * sizeof one, &one);
    }
    size_t phases = own.phases ? place_room(m, has_phases ? own.phase_count : 1, sizeof(keel_phase))
                               : 0;
    point(m, at + offsetof(keel_component, phases), phases);
    for (size_t i = 0; has_phases && i < own.phase_count; i++) {
        keel_phase one;
        element(&one, sizeof one, own.phases, own.phase_stride, i);
        place_phase(m, phases + i * sizeof one, &one);
    }
    return at;
}

void plugin_image(const keel_plugin *p, buffer *out) {
    image made = {{0, 0, 0}, {0, 0, 0}, 0}, *m = &made;
    size_t root;
    put_u64(&m->block, 0); /* nothing lies at offset 0 */
    if (is_size(p->size)) {
        keel_plugin own;
        copy_struct(&own, sizeof own, p);
        own.size = p->size < sizeof own ? p->size : (uint32_t)sizeof own;
        size_t at = root = place(m, &own, sizeof own);
        TEXT(keel_plugin, id);
        TEXT(keel_plugin, version);
        size_t n = 0;
        while (own.components && n < 1024 && own.components[n])
            n++;
        size_t list = own.components ? place_room(m, n + 1, sizeof(void *)) : 0;
        point(m, at + offsetof(keel_plugin, components), list);
        for (size_t i = 0; i < n; i++)
            point(m, list + i * sizeof(void *), place_component(m, own.components[i]));
    } else {
        root = place(m, p, 16);
    }
    put_u64(out, root);
    put_u64(out, m->pointer_count);
    put_bytes(out, m->pointers.start, m->pointers.n);
    put_bytes(out, m->block.start, m->block.n);
    free(m->block.start);
    free(m->pointers.start);
}
