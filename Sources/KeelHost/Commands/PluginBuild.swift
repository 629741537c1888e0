import Glibc
import KeelBridge
import KeelCore

/// `keel plugin build`: source files -> one plugin, by the right compiler line.
package struct PluginBuild {
    /// What came out.
    package struct Result {
        package var path: String
        package var components: [Component]
        /// The size of the file.
        package var bytes: Int
        /// The libraries that it needs to be loaded.
        package var needed: [String]

        /// `libbrief.so: reward "brief" (16 KB, needs libc.so.6)`.
        package var text: String {
            let size =
                bytes < 1_000_000
                ? "\((bytes + 999) / 1000) KB"
                : "\(bytes / 1_000_000).\(bytes / 100_000 % 10) MB"
            let libraries = needed.isEmpty ? "no library" : needed.joined(separator: ", ")
            let titles = components.map(\.title).joined(separator: ", ")
            return "\(path): \(titles) (\(size), needs \(libraries))"
        }
    }

    /// Source files of one plugin, or one folder of them.
    package var sources: [String]
    package var output: String?
    /// Links the runtime of Swift or C++ in, for machines without one.
    package var isStatic: Bool
    /// Prints the compiler lines.
    package var isVerbose: Bool

    package init(
        sources: [String], output: String? = nil, isStatic: Bool = false, isVerbose: Bool = false
    ) {
        self.sources = sources
        self.output = output
        self.isStatic = isStatic
        self.isVerbose = isVerbose
    }

    /// Compiles the files, checks what the library exports, then loads it as a run would.
    ///
    /// - Throws: `KeelError`: usage (no or mixed languages), noInput, unavailable (no compiler, no SDK,
    ///   no plugin came out), failed (the compiler says no).
    package func run(catalog: PluginCatalog) throws -> Result {
        let inputs = try self.inputs()
        let target = Files.absolute(try output ?? "lib\(stem()).so")
        let sdk = try SDKLocation.find()
        try Files.makeDirectory(Files.parent(target))
        // Under a temporary name first, so that a failed build leaves the old plugin.
        let temporary = Files.join(Files.parent(target), ".\(Files.name(target)).tmp-\(getpid())")
        defer { try? Files.remove(temporary) }
        if inputs.swift.isEmpty {
            try compileC(sdk, inputs, temporary)
        } else {
            try compileSwift(sdk, inputs.swift, temporary)
        }
        let needed = try PluginBuild.check(temporary, named: Files.name(target))
        guard rename(temporary, target) == 0 else {
            throw Files.error("cannot rename into place", target)
        }
        return Result(
            path: target, components: try catalog.components(target),
            bytes: Files.size(target) ?? 0, needed: needed)
    }

    /// One exported symbol, the entry.
    ///
    /// - Returns: the libraries that the file needs.
    private static func check(_ path: String, named name: String) throws -> [String] {
        let file = try ELFFile(try MappedFile(path))
        let exported = try file.exportedSymbols() ?? []
        // Names with an underscore are those of linkers (gold) and compilers (tcc), but for C++'s _Z.
        let others = exported.filter {
            $0 != "keel_plugin_v1" && (!$0.hasPrefix("_") || $0.hasPrefix("_Z"))
        }
        guard exported.contains("keel_plugin_v1") else {
            throw KeelError(
                "plugin", "\(name) would be no plugin: no source defines keel_plugin_v1",
                at: name,
                fix:
                    "end one file with KEEL_PLUGIN(...) in C, or a public @c(keel_plugin_v1) function in Swift",
                code: .unavailable)
        }
        guard others.isEmpty else {
            throw KeelError(
                "plugin",
                "\(name) exports more than its entry: \(others.sorted().prefix(5).joined(separator: ", "))",
                at: name, fix: "leave the version script of the link as it is", code: .unavailable)
        }
        return try file.neededLibraries() ?? []
    }

    // MARK: - Sources

    private struct Inputs {
        var c: [String] = []
        var cpp: [String] = []
        var swift: [String] = []
    }

    /// The name of the plugin file when none is given: that of the folder, or of the first file.
    private func stem() throws -> String {
        guard let first = sources.first else { return "plugin" }
        let name = Files.name(Files.absolute(first))
        if Files.isDirectory(first) { return name }
        return name.lastIndex(of: ".").map { String(name[..<$0]) } ?? name
    }

    /// The files by language.
    private func inputs() throws -> Inputs {
        var files: [String] = []
        for source in sources {
            if Files.isDirectory(source) {
                let inside = try Files.list(source).filter {
                    !$0.hasPrefix(".") && $0 != "Package.swift"
                        && PluginBuild.suffixes.contains(PluginBuild.suffix($0))
                }
                guard !inside.isEmpty else {
                    throw KeelError(
                        "plugin", "the folder holds no .swift, .c or .cpp file", at: source,
                        fix: "name the folder of the sources", code: .noInput)
                }
                files += inside.map { Files.join(source, $0) }
            } else if Files.isRegular(source) {
                files.append(source)
            } else {
                throw KeelError(
                    "plugin", "no such source file", at: source, fix: "check the path",
                    code: .noInput)
            }
        }
        var inputs = Inputs()
        for file in files {
            let path = Files.absolute(file)
            switch PluginBuild.suffix(file) {
            case "c": inputs.c.append(path)
            case "cc", "cpp", "cxx": inputs.cpp.append(path)
            case "swift": inputs.swift.append(path)
            default:
                throw KeelError(
                    "plugin", "cannot tell the language of \"\(Files.name(file))\"", at: file,
                    fix: "name it .swift, .c or .cpp", code: .usage)
            }
        }
        guard inputs.swift.isEmpty || inputs.c.isEmpty && inputs.cpp.isEmpty else {
            throw KeelError(
                "plugin", "Swift and C files in one plugin", at: sources.joined(separator: " "),
                fix: "build them as two plugins, or with a package of your own (docs/plugins.md)",
                code: .usage)
        }
        return inputs
    }

    private static let suffixes: Set<String> = ["c", "cc", "cpp", "cxx", "swift"]

    private static func suffix(_ path: String) -> String {
        let name = Files.name(path)
        return name.lastIndex(of: ".").map { String(name[name.index(after: $0)...]) } ?? ""
    }

    // MARK: - C and C++

    private func compileC(_ sdk: SDKLocation, _ inputs: Inputs, _ target: String) throws {
        func options(_ language: String) -> [String] {
            [language == "c" ? "-std=gnu11" : "-std=gnu++20", "-O2", "-Wall", "-Wextra"]
                + ["-Wno-unused-parameter", "-fPIC", "-fvisibility=hidden", "-I", sdk.headers]
                + words(language == "c" ? "CFLAGS" : "CXXFLAGS")
        }
        func link(_ compiler: [String]) -> [String] {
            // tcc links by itself, and knows none of these.
            let isTiny = Files.name(Files.real(compiler[0])).hasSuffix("tcc")
            let options = ["--version-script=\(sdk.map)", "-z,now", "--as-needed"]
            return ["-shared"] + (isTiny ? [] : options.map { "-Wl,\($0)" }) + words("LDFLAGS")
                + ["-lm"]
        }
        guard !inputs.cpp.isEmpty else {
            let compiler = try tool("cc", variable: "CC")
            try execute(compiler + options("c") + inputs.c + ["-o", target] + link(compiler))
            return
        }
        // C stays C: its files become objects first.
        var objects: [String] = []
        defer { for object in objects { try? Files.remove(object) } }
        for (number, file) in inputs.c.enumerated() {
            objects.append("\(target).\(number).o")
            let compiler = try tool("cc", variable: "CC")
            try execute(compiler + options("c") + ["-c", file, "-o", objects[number]])
        }
        let runtime = isStatic ? ["-static-libstdc++", "-static-libgcc", "-s"] : []
        let compiler = try tool("c++", variable: "CXX")
        try execute(
            compiler + options("c++") + inputs.cpp + objects + ["-o", target] + link(compiler)
                + runtime)
    }

    // MARK: - Swift

    private func compileSwift(_ sdk: SDKLocation, _ files: [String], _ target: String) throws {
        let compiler = try tool("swiftc", variable: "SWIFTC")
        let common =
            ["-O", "-wmo", "-parse-as-library", "-emit-library", "-I", sdk.headers]
            + (isStatic ? ["-static-stdlib"] : [])
        let library = try sdk.compiled(by: compiler, flags: common.filter { $0 != sdk.headers }) {
            folder in
            let module = Files.join(folder, "KeelPlugin.swiftmodule")
            try execute(
                compiler + common
                    + [
                        "-static", "-emit-module", "-module-name", "KeelPlugin",
                        "-emit-module-path", module, "-o", Files.join(folder, "libKeelPlugin.a"),
                    ] + sdk.swiftSources(),
                what: "the SDK does not compile", at: sdk.swift)
        }
        let name = try stem().unicodeScalars.map {
            $0.isASCII && $0.properties.isAlphabetic || ("0"..."9").contains($0) ? "\($0)" : "_"
        }.joined()
        try execute(
            compiler + common
                + [
                    "-module-name", "Plugin_\(name)", "-no-toolchain-stdlib-rpath", "-I", library,
                ] + words("SWIFTFLAGS") + files
                + [
                    Files.join(library, "libKeelPlugin.a"), "-o", target,
                    "-Xlinker", "--version-script=\(sdk.map)",
                    "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "--gc-sections",
                ] + (isStatic ? ["-Xlinker", "-s"] : []) + words("LDFLAGS"))
    }

    // MARK: - Compilers

    private func execute(_ command: [String], what: String? = nil, at: String? = nil) throws {
        if isVerbose { Log.stderr(command.map(PluginBuild.quoted).joined(separator: " ") + "\n") }
        let status = try Subprocess.run(command)
        guard status == 0 else {
            let names = sources.map { Files.name($0) }.joined(separator: ", ")
            let verb = sources.count == 1 ? "does" : "do"
            throw KeelError(
                "plugin",
                "\(what ?? "\(names) \(verb) not compile"): the compiler ended with status \(status)",
                at: at ?? sources.joined(separator: " "), fix: "see its messages above",
                code: .failed)
        }
    }

    /// The first words of a compiler's line: a program, and what CC and the like say behind it.
    private func tool(_ name: String, variable: String) throws -> [String] {
        let wanted = words(variable).isEmpty ? [name] : words(variable)
        guard let path = Subprocess.find(wanted[0]) else {
            throw KeelError(
                "plugin", "no compiler \"\(wanted[0])\" was found", at: "PATH",
                fix: name == "swiftc"
                    ? "install a Swift toolchain, or set SWIFTC"
                    : "install gcc or clang, or set \(variable)",
                code: .unavailable)
        }
        return [path] + wanted.dropFirst()
    }

    /// The words of an environment variable, as `make` passes them on.
    private func words(_ variable: String) -> [String] {
        (Files.environment(variable) ?? "").split(whereSeparator: \.isWhitespace).map(String.init)
    }

    private static func quoted(_ word: String) -> String {
        let isPlain = word.utf8.allSatisfy {
            $0 > 0x2A && $0 < 0x7F && !Array("<>?;[\\]`{|}".utf8).contains($0)
        }
        return isPlain && !word.isEmpty
            ? word
            : "'"
                + word.split(separator: "'", omittingEmptySubsequences: false).joined(
                    separator: "'\\''") + "'"
    }
}
