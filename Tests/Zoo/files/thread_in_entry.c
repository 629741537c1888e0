/* Starts a thread in its entry function. */
#include "file.h"
#include <pthread.h>
#include <unistd.h>
static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void);
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) {
    static const keel_component *const list[] = {&plain_component, 0};
    static const keel_plugin plugin = {sizeof(keel_plugin), 0, "org.example.zoo.thread_in_entry",
                                       "1.0.0", list};
    pthread_t thread;
    pthread_create(&thread, 0, wait_for_ever, 0);
    return &plugin;
}
