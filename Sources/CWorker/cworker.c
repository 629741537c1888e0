#include "cworker.h"
#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>

int kw_spawn(const char *program, const int descriptors[4], char *const variables[], pid_t *child) {
    static const int places[4] = {KW_SOCKET, KW_DATA, 1, 2};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    char parent[32], *arguments[3];
    snprintf(parent, sizeof parent, "%ld", (long)getpid());
    arguments[0] = (char *)(uintptr_t)program;
    arguments[1] = parent;
    arguments[2] = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 0; i < 4; i++)
        posix_spawn_file_actions_adddup2(&actions, descriptors[i], places[i]);
    posix_spawn_file_actions_addclosefrom_np(&actions, KW_DATA + 1);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    /* It is killed with all that it has started, and no Ctrl-C reaches it. */
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    int status = posix_spawn(child, program, &actions, &attributes, arguments, variables);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

const char *kw_file_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) ? info.dli_fname : 0;
}
