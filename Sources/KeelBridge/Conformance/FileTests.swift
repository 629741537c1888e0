import CKeel
import Glibc
import KeelCore

/// What a plugin's file is like, before anything of it is called.
extension ConformanceTest {
    static let fileTests: [ConformanceTest] = [
        ConformanceTest(
            .file, "exports", "The file exports keel_plugin_v1 and nothing else.",
            run: testExports),
        ConformanceTest(
            .file, "needed", "Every library that the file names is there.", run: testNeeded),
        ConformanceTest(
            .file, "symbols",
            "Every symbol comes from libc or a library that the file names: a worker has no others.",
            after: ["needed"], run: testSymbols),
        ConformanceTest(
            .file, "stack", "The file asks for no executable stack.", run: testStack),
        ConformanceTest(
            .file, "relocations", "The loader need not rewrite code (text relocations).",
            run: testRelocations),
        ConformanceTest(
            .file, "loads", "The file loads with all symbols resolved, and describes itself.",
            after: ["needed", "symbols"], run: testLoads),
        ConformanceTest(
            .file, "pure",
            "Loading and asking leave no output, thread, file, signal handler or variable behind.",
            after: ["loads"], run: testPure),
        ConformanceTest(
            .file, "repeatable", "The entry function gives the same description every time.",
            after: ["loads"], run: testRepeatable),
    ]

    private static func file<T>(_ trial: Trial, _ body: (ELFFile) throws -> T) throws -> T {
        _ = try Library.check(trial.path)
        let file = try MappedFile(trial.path)
        return try withExtendedLifetime(file) { try body(try ELFFile(file)) }
    }

    private static func needed(_ trial: Trial) throws -> [String] {
        try file(trial) { try $0.neededLibraries() ?? [] }
    }

    /// Whether compiler or linker have put the symbol there: names that C reserves for them.
    private static func isReserved(_ name: String) -> Bool {
        name.hasPrefix("__")
            || [
                "_edata", "_etext", "_end", "_init", "_fini", "_GLOBAL_OFFSET_TABLE_", "_bss_end__",
            ]
            .contains(name)
    }

    private static func testExports(_ trial: Trial) throws {
        let names = try file(trial) { try $0.exportedSymbols() ?? [] }.filter {
            !isReserved($0) && $0 != Library.entrySymbol
        }
        guard let first = names.first else { return }
        let more = names.count > 1 ? " and \(names.count - 1) more" : ""
        throw Finding.warn(
            "it also exports \(first)\(more)",
            fix:
                "compile with -fvisibility=hidden, or link with -Wl,--version-script=SDK/plugin.map"
        )
    }

    private static func testNeeded(_ trial: Trial) throws {
        for name in try needed(trial) {
            trial.at("dlopen of \(name)")
            guard dlopen(name, RTLD_LAZY | RTLD_LOCAL) == nil else { continue }
            // Beside the file, by its own RUNPATH, it may be found nevertheless.
            guard dlopen(trial.path, RTLD_LAZY | RTLD_LOCAL) == nil else { continue }
            throw Finding.fail(
                "it needs the library \(name), which is not found",
                fix: "install it, or link what it gives into the plugin; `ldd` shows the others")
        }
    }

    private static func testSymbols(_ trial: Trial) throws {
        let needed = try needed(trial)
        let undefined = try file(trial) { try $0.undefinedSymbols() }
        let system = ["libc.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"]
        let handles = (needed + system).compactMap { name -> UnsafeMutableRawPointer? in
            trial.at("dlopen of \(name)")
            return dlopen(name, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD)
                ?? dlopen(name, RTLD_LAZY | RTLD_LOCAL)
        }
        let open = undefined.filter { symbol in !handles.contains { dlsym($0, symbol) != nil } }
        guard let first = open.first else { return }
        let more = open.count > 1 ? " (and \(open.count - 1) more)" : ""
        throw Finding.fail(
            "no library that it names has the symbol \(first)\(more)",
            fix: "link the library that has it (-lm for mathematics), or define it")
    }

    private static func testStack(_ trial: Trial) throws {
        switch try file(trial, { try $0.stack() }) {
        case .plain: return
        case .executable:
            throw Finding.fail(
                "it asks for an executable stack, which the whole process would get",
                fix: "link with -z noexecstack; assembly files need .section .note.GNU-stack")
        case .unstated:
            trial.note("it does not say whether its stack is executable")
        }
    }

    private static func testRelocations(_ trial: Trial) throws {
        guard try file(trial, { try $0.hasTextRelocations() }) else { return }
        throw Finding.fail(
            "its code must be rewritten to be loaded (text relocations)",
            fix: "compile everything with -fPIC")
    }

    /// Loads the file and asks it, without reading what it says.
    private static func entry(_ trial: Trial) throws -> UnsafePointer<keel_plugin> {
        trial.at("dlopen")
        guard let handle = dlopen(trial.path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) else {
            throw Finding.fail(
                "it cannot be loaded: \(dlerror().map { String(cString: $0) } ?? "unknown reason")")
        }
        guard let symbol = dlsym(handle, Library.entrySymbol) else {
            throw Finding.fail("it does not export \(Library.entrySymbol)")
        }
        typealias Entry = @convention(c) () -> UnsafePointer<keel_plugin>?
        trial.at("keel_plugin_v1")
        guard let plugin = unsafeBitCast(symbol, to: Entry.self)() else {
            throw Finding.fail(
                "keel_plugin_v1 returns nothing", fix: "return the address of a keel_plugin")
        }
        return plugin
    }

    private static func testLoads(_ trial: Trial) throws {
        _ = try Library.check(trial.path)
        _ = try entry(trial)
    }

    private static func testPure(_ trial: Trial) throws {
        // What the libraries that it needs do when they are loaded is not the plugin's doing.
        for name in try needed(trial) { _ = dlopen(name, RTLD_NOW | RTLD_LOCAL) }
        let before = ProcessState.now()
        _ = try entry(trial)
        usleep(2000)  // a thread takes a moment to show
        if let change = ProcessState.now().difference(from: before, atLoad: true) {
            throw Finding.fail(
                "loading it \(change)",
                fix: "leave that to `create`: loading and keel_plugin_v1 only describe")
        }
    }

    private static func testRepeatable(_ trial: Trial) throws {
        var descriptions: [JSON] = []
        for _ in 0..<3 {
            let plugin = try entry(trial)
            var reader = DescriptorReader(path: trial.path, sha256: "")
            do {
                descriptions.append(.array(try reader.read(plugin).map(\.component.json)))
            } catch {
                descriptions.append(.string(Trial.words(error)))  // for descriptor.valid to report
            }
        }
        if descriptions.contains(where: { $0 != descriptions[0] }) {
            throw Finding.fail(
                "keel_plugin_v1 describes something else when it is called again",
                fix: "return the address of static data that does not change")
        }
    }
}
