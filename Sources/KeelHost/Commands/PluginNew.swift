import KeelBridge
import KeelCore

/// `keel plugin new`: a folder with a plugin that builds, its test, a config and sample rows.
package struct PluginNew {
    package enum Language: String, CaseIterable, Sendable {
        case c
        case swift
    }

    package var kind: String
    package var name: String
    package var language: Language
    /// The folder that is made; nil: the name, in the current folder.
    package var output: String?

    package init(kind: String, name: String, language: Language, output: String? = nil) {
        self.kind = kind
        self.name = name
        self.language = language
        self.output = output
    }

    /// Makes the folder.
    ///
    /// - Parameter catalog: the plugins whose names are taken.
    /// - Returns: its path and the files in it.
    /// - Throws: `KeelError`: usage (kind, name), cannotCreate (the folder exists), unavailable (no SDK).
    package func run(catalog: PluginCatalog) throws -> (folder: String, files: [String]) {
        let kind = try checkedKind()
        try checkName()
        if let taken = catalog.list().components.first(where: { $0.name == name && $0.isBuiltIn }) {
            throw KeelError(
                "plugin", "\"\(name)\" is the name of Keel's own \(taken.kind.words)",
                at: taken.path, fix: "choose another name", code: .usage)
        }
        let folder = output ?? name
        guard !Files.exists(folder) else {
            throw KeelError(
                "plugin", "\(folder) exists already", at: Files.absolute(folder),
                fix: "choose another name, or another folder with --output", code: .cannotCreate)
        }
        let sdk = try SDKLocation.find()
        let files = try templates(sdk, kind)
        try Files.makeDirectory(Files.parent(Files.absolute(folder)))
        try AtomicWrite.directory(Files.absolute(folder)) { temporary in
            for (name, text) in files { try AtomicWrite.file(Files.join(temporary, name), text) }
        }
        return (folder, files.map(\.name))
    }

    // MARK: - Kind and name

    private static let kinds = ComponentKind.allCases.map {
        $0.rawValue.map { $0 == "_" ? "-" : "\($0)" }.joined()
    }

    /// The kind as its template folder is called.
    private func checkedKind() throws -> String {
        let wanted = kind.map { $0 == "_" ? "-" : "\($0)" }.joined()
        if PluginNew.kinds.contains(wanted) { return wanted }
        let near = nearest(wanted, among: PluginNew.kinds).map { "did you mean \"\($0)\"?" }
        throw KeelError(
            "usage", "unknown kind of plugin \"\(kind)\"", at: "keel plugin new",
            fix: near ?? "one of: \(PluginNew.kinds.joined(separator: ", "))", code: .usage)
    }

    /// Lower-case letters, digits and underscores, a letter first: good for C, Swift, files and configs.
    private func checkName() throws {
        let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        let bytes = Array(name.utf8)
        let isPlain = bytes.allSatisfy {
            letters.contains($0) || digits.contains($0) || $0 == UInt8(ascii: "_")
        }
        if isPlain, let first = bytes.first, letters.contains(first), bytes.count <= 64 { return }
        throw KeelError(
            "usage", "\"\(name)\" cannot be the name of a plugin", at: "keel plugin new",
            fix: PluginNew.suggestion(name).map { "\"\($0)\" can" }
                ?? "use lower-case letters, digits and underscores, a letter first, 64 at most",
            code: .usage)
    }

    /// The nearest name that can be one: "My-Reward" -> "my_reward".
    private static func suggestion(_ name: String) -> String? {
        var out = ""
        var wasLower = false
        for scalar in name.unicodeScalars where out.utf8.count < 64 {
            let isUpper = ("A"..."Z").contains(scalar)
            let isWord = isUpper || ("a"..."z").contains(scalar) || ("0"..."9").contains(scalar)
            if !isWord || isUpper && wasLower, !out.isEmpty, !out.hasSuffix("_") { out += "_" }
            if isWord, !out.isEmpty || !("0"..."9").contains(scalar) {
                out += String(scalar).lowercased()
            }
            wasLower = isWord && !isUpper
        }
        while out.hasSuffix("_") { out.removeLast() }
        return out.isEmpty ? nil : out
    }

    /// The Swift type: "polite" as a reward -> `PoliteReward`, so that it never meets a type of the SDK.
    private func typeName(_ kind: String) -> String {
        let camel = name.split(separator: "_").map { $0.prefix(1).uppercased() + $0.dropFirst() }
            .joined()
        let suffix =
            switch kind {
            case "reward": "Reward"
            case "objective": "Objective"
            case "token-sampler": "Sampler"
            default: "Order"
            }
        let type = camel.hasSuffix(suffix) ? camel : camel + suffix
        let taken: Set = ["Reward", "GroupReward", "Objective", "TokenSampler", "DataSampler"]
        return taken.contains(type) ? type + "Plugin" : type
    }

    // MARK: - Files

    /// The files of the folder, with the name put in.
    private func templates(
        _ sdk: SDKLocation, _ kind: String
    ) throws -> [(name: String, text: String)] {
        let type = typeName(kind)
        let source = language == .c ? "my_plugin.c" : "MyPlugin.swift"
        let found = Subprocess.find("keel").map { Files.real($0) }
        let values = [
            ("@SOURCE@", source), ("@SDK@", sdk.root),
            ("@KEEL@", found == Files.executable ? "keel" : Files.executable),
            ("my_plugin", name), ("MyPlugin", type),
        ]
        let own = Files.join(sdk.templates, kind)
        let common = Files.join(sdk.templates, language.rawValue)
        guard Files.isDirectory(own), Files.isDirectory(common) else {
            throw KeelError(
                "plugin", "the SDK holds no templates", at: sdk.templates,
                fix:
                    "install it with `make install`, or set KEEL_SDK to the folder SDK of the source tree",
                code: .unavailable)
        }
        var files: [(name: String, text: String)] = []
        for folder in [own, common] {
            for file in try Files.list(folder) where !file.hasPrefix(".") {
                if file.hasSuffix(".c") || file.hasSuffix(".swift"), file != source { continue }
                var text = try Files.readText(Files.join(folder, file))
                var name = file
                for (from, to) in values {
                    text = PluginNew.replace(from, with: to, in: text)
                    name = PluginNew.replace(from, with: to, in: name)
                }
                files.append((name, text))
            }
        }
        return files.sorted { $0.name < $1.name }
    }

    private static func replace(_ what: String, with other: String, in text: String) -> String {
        var out = ""
        var rest = Substring(text)
        while let range = rest.firstRange(of: what) {
            out += rest[..<range.lowerBound] + other
            rest = rest[range.upperBound...]
        }
        return out + rest
    }
}
