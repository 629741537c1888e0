/* Describes itself differently at every call. */
#include "file.h"
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void);
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) {
    static const keel_component *const list[] = {&plain_component, 0};
    static const char *const versions[] = {"1.0.0", "1.0.1"};
    static keel_plugin plugin = {sizeof(keel_plugin), 0, "org.example.zoo.changing_entry", "",
                                 list};
    static int calls;
    plugin.version = versions[calls++ % 2];
    return &plugin;
}
