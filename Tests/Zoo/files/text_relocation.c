/* Code that the loader must rewrite (the build adds -z notext). */
#include "file.h"
#ifdef __x86_64__
__asm__(".text\n.quad plain_target\n.data\nplain_target: .quad 0\n.globl plain_target\n"
        ".hidden plain_target\n");
#else
__asm__(".text\n.balign 8\n.xword plain_target\n.data\nplain_target: .xword 0\n"
        ".globl plain_target\n.hidden plain_target\n");
#endif
KEEL_PLUGIN("org.example.zoo.text_relocation", "1.0.0", &plain_component)
