import Glibc
import KeelBridge
import KeelCore

/// `keel plugin build`: one source file -> one plugin, by the right compiler line.
package struct PluginBuild {
    package var source: String
    package var output: String?
    /// Links the Swift runtime in, for machines without one.
    package var isStatic: Bool
    /// Prints the compiler lines.
    package var isVerbose: Bool

    package init(
        source: String, output: String? = nil, isStatic: Bool = false, isVerbose: Bool = false
    ) {
        self.source = source
        self.output = output
        self.isStatic = isStatic
        self.isVerbose = isVerbose
    }

    /// Compiles the file, then loads it as a run would.
    ///
    /// - Returns: the path of the plugin and what it holds.
    /// - Throws: `KeelError`: noInput, unavailable (no compiler, no SDK), failed (the compiler says no).
    package func run(catalog: PluginCatalog) throws -> (path: String, components: [Component]) {
        guard Files.isRegular(source) else {
            throw KeelError(
                "plugin", "no such source file", at: source, fix: "check the path", code: .noInput)
        }
        let name = Files.name(source)
        let stem = name.lastIndex(of: ".").map { String(name[..<$0]) } ?? name
        let suffix = name.dropFirst(stem.count)
        let target = Files.absolute(output ?? "lib\(stem).so")
        let sdk = try SDKLocation.find()
        switch suffix {
        case ".c": try compileC(sdk, compiler: "cc", standard: "-std=c11", target)
        case ".cc", ".cpp", ".cxx":
            try compileC(sdk, compiler: "c++", standard: "-std=c++20", target)
        case ".swift": try compileSwift(sdk, stem, target)
        default:
            throw KeelError(
                "plugin", "cannot tell the language of \"\(name)\"", at: source,
                fix: "name it .swift, .c or .cpp",
                code: .usage)
        }
        return (target, try catalog.components(target))
    }

    private func compileC(
        _ sdk: SDKLocation, compiler: String, standard: String, _ target: String
    ) throws {
        try compile(target) { temporary in
            [
                try tool(compiler, variable: compiler == "cc" ? "CC" : "CXX"), standard, "-O2",
                "-Wall", "-Wextra", "-Wno-unused-parameter",
                "-fPIC", "-shared", "-fvisibility=hidden", "-I", sdk.headers,
                Files.absolute(source), "-o", temporary,
                "-Wl,--version-script=\(sdk.map)", "-Wl,-z,now", "-lm",
            ]
        }
    }

    private func compileSwift(_ sdk: SDKLocation, _ stem: String, _ target: String) throws {
        let swiftc = try tool("swiftc", variable: "SWIFTC")
        let library = try compiledSDK(sdk, swiftc)
        let module = String(stem.map { $0.isASCII && ($0.isLetter || $0.isNumber) ? $0 : "_" })
        try compile(target) { temporary in
            [
                swiftc, "-O", "-wmo", "-parse-as-library", "-emit-library", "-module-name",
                "Plugin_\(module)",
                "-no-toolchain-stdlib-rpath", "-I", library, "-I", sdk.headers,
                Files.absolute(source),
                Files.join(library, "libKeelPlugin.a"), "-o", temporary, "-Xlinker",
                "--version-script=\(sdk.map)",
                "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "--gc-sections",
            ] + (isStatic ? ["-static-stdlib"] : [])
        }
    }

    /// The folder with the SDK's module and library, compiled once for its sources and this compiler.
    private func compiledSDK(_ sdk: SDKLocation, _ swiftc: String) throws -> String {
        let sources = try Files.list(sdk.swift).filter { $0.hasSuffix(".swift") }.map {
            Files.join(sdk.swift, $0)
        }
        let headers = try Files.list(sdk.headers).map { Files.join(sdk.headers, $0) }.filter(
            Files.isRegular)
        var hash = SHA256()
        hash.update(
            "\(swiftc) \(Files.modified(swiftc) ?? 0) \(Files.size(swiftc) ?? 0) static \(isStatic)\n"
        )
        for file in sources + headers { hash.update("\(file) \(try SHA256.hex(file: file))\n") }
        let folder = Files.join(
            Files.userFolder("XDG_CACHE_HOME", ".cache"), "sdk/\(hash.hex().prefix(16))")
        if Files.exists(Files.join(folder, "libKeelPlugin.a")) { return folder }
        try Files.makeDirectory(Files.parent(folder))
        try AtomicWrite.directory(folder) { temporary in
            let command =
                [
                    swiftc, "-O", "-wmo", "-parse-as-library", "-emit-library", "-static",
                    "-emit-module", "-module-name",
                    "KeelPlugin", "-emit-module-path",
                    Files.join(temporary, "KeelPlugin.swiftmodule"), "-I", sdk.headers,
                    "-o", Files.join(temporary, "libKeelPlugin.a"),
                ] + (isStatic ? ["-static-stdlib"] : []) + sources
            try execute(command, what: "the SDK does not compile")
        }
        return folder
    }

    /// Compiles to a temporary name beside the target, so that a failed build leaves the old plugin.
    private func compile(_ target: String, _ command: (String) throws -> [String]) throws {
        try Files.makeDirectory(Files.parent(target))
        let temporary = Files.join(Files.parent(target), ".\(Files.name(target)).tmp-\(getpid())")
        defer { try? Files.remove(temporary) }
        try execute(try command(temporary), what: "\(Files.name(source)) does not compile")
        try Files.copy(temporary, to: target)
    }

    private func execute(_ command: [String], what: String) throws {
        if isVerbose { Log.stderr(command.map(PluginBuild.quoted).joined(separator: " ") + "\n") }
        let status = try Subprocess.run(command)
        guard status == 0 else {
            throw KeelError(
                "plugin", "\(what): the compiler ended with status \(status)", at: source,
                fix: "see its messages above", code: .failed)
        }
    }

    private func tool(_ name: String, variable: String) throws -> String {
        let wanted = Files.environment(variable) ?? name
        guard let path = Subprocess.find(wanted) else {
            throw KeelError(
                "plugin", "no compiler \"\(wanted)\" was found", at: "PATH",
                fix: name == "swiftc"
                    ? "install a Swift toolchain, or set SWIFTC"
                    : "install gcc or clang, or set \(variable)",
                code: .unavailable)
        }
        return path
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

/// Where the SDK lies: in the source tree, or installed beside the executable.
struct SDKLocation {
    /// The folder of keel.h and its module map.
    var headers: String
    /// The folder of KeelPlugin's sources.
    var swift: String
    /// The version script that exports the entry symbol alone.
    var map: String

    /// `KEEL_SDK`, `<prefix>/share/keel/sdk`, or `SDK` of a source tree above the executable.
    ///
    /// - Throws: `KeelError` (unavailable) when none is whole.
    static func find() throws -> SDKLocation {
        let beside = Files.parent(Files.executable)
        var candidates = [Files.join(Files.parent(beside), "share/keel/sdk")]
        if let named = Files.environment("KEEL_SDK") {
            candidates.insert(Files.absolute(named), at: 0)
        }
        var folder = beside
        while folder != "/", !folder.isEmpty {
            candidates.append(Files.join(folder, "SDK"))
            folder = Files.parent(folder)
        }
        for root in candidates {
            let location = SDKLocation(
                headers: Files.join(root, "C/include"), swift: Files.join(root, "Swift/KeelPlugin"),
                map: Files.join(root, "plugin.map"))
            if Files.exists(Files.join(location.headers, "keel.h")), Files.exists(location.map) {
                return location
            }
        }
        throw KeelError(
            "plugin", "the plugin SDK was not found", at: candidates[0],
            fix:
                "install it with `make install`, or set KEEL_SDK to the folder SDK of the source tree",
            code: .unavailable)
    }
}
