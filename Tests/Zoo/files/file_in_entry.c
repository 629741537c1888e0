/* Opens a file in its entry function and keeps it. */
#include "file.h"
#include <fcntl.h>
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void);
KEEL_EXPORT const keel_plugin *keel_plugin_v1(void) {
    static const keel_component *const list[] = {&plain_component, 0};
    static const keel_plugin plugin = {sizeof(keel_plugin), 0, "org.example.zoo.file_in_entry",
                                       "1.0.0", list};
    (void)!open("/dev/null", O_RDONLY);
    return &plugin;
}
