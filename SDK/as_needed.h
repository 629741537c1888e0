/* For C that SwiftPM links (Package.swift includes this in each file): the Swift runtime, which swiftc names on every
 * link line, is noted only where it is used, that is not here. The section holds options for the link line; the
 * linker does not keep it. */
#if defined(__ELF__) && !defined(__ASSEMBLER__)
__asm__(".pushsection .swift1_autolink_entries,\"e\",@progbits\n"
        ".asciz \"-Wl,--as-needed\"\n"
        ".popsection");
#endif
