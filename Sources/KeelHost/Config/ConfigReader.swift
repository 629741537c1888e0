import KeelBridge
import KeelCore

/// Reads a config file into sections and collects everything that is wrong with it.
package final class ConfigReader {
    package private(set) var places = ConfigPlaces()
    package private(set) var errors: [KeelError] = []
    /// Aliases that were read, in words.
    package private(set) var notes: [String] = []
    /// What relative paths are relative to.
    private let folder: String
    /// The sections and keys that are wanted; nil = all.
    private let wanted: [String]?
    private var root = JSONObject()

    /// - Parameters:
    ///   - path: the config file.
    ///   - overrides: `a.b=value` each; the value is JSON, or else a string.
    ///   - wanted: sections and keys; nil = all. What else is there may be left out, and what it names too.
    /// - Throws: `KeelError` when the file cannot be read or is not JSON: nothing else can be said then.
    package init(path: String, overrides: [String] = [], wanted: [String]? = nil) throws {
        folder = Files.parent(Files.absolute(path))
        self.wanted = wanted
        root = try parse(path)
        renameAliases()
        for override in overrides { apply(override) }
    }

    /// Reads the whole of a section type from the file's top level.
    package func read<Section: ConfigSection>(_ type: Section.Type) -> Section {
        let section = Section()
        fill(section.keys, from: root, at: "")
        return section
    }

    // MARK: - Errors

    /// Adds an error at a key.
    package func report(
        _ what: String, at path: String, fix: String? = nil, code: ExitCode = .config
    ) {
        errors.append(KeelError("config", what, at: places.place(of: path), fix: fix, code: code))
    }

    /// Adds an error that knows its place.
    package func add(_ error: KeelError) { errors.append(error) }

    /// Runs a check of another part and adds what it throws.
    package func collect(_ check: () throws -> Void) {
        do {
            try check()
        } catch let error as KeelErrors {
            errors += error.errors
        } catch let error as KeelError {
            errors.append(error)
        } catch {
            errors.append(KeelError("config", "\(error)", at: places.file, code: .internalBug))
        }
    }

    /// Whether a mistake in a key, or in what it holds, has been told.
    func hasError(at path: String) -> Bool {
        errors.contains { $0.at?.contains("key \(shown(path))") ?? false }
    }

    /// Adds a remark that is no error.
    package func note(_ text: String, at path: String) {
        notes.append("\(places.place(of: path)): \(text)")
    }

    /// - Throws: all errors found so far, in one.
    package func throwErrors() throws {
        try KeelErrors(errors).throwIfAny()
    }

    func wrongType(_ value: JSON, _ wanted: String, _ path: String) {
        report(
            "\(shown(path)) is \(ConfigReader.excerpt(value)); it takes \(wanted)", at: path,
            fix: "give it \(wanted)")
    }

    /// Whether a number is in the key's range; tells when it is not.
    func inRange(_ value: Double, _ spec: KeySpec, _ path: String) -> Bool {
        if spec.bounds.contains(value) { return true }
        let text = Int(exactly: value).map(String.init) ?? "\(value)"
        let range = spec.bounds.text ?? "finite"
        report(
            "\(shown(path)) is \(text); it must be \(range)", at: path, fix: "use a value \(range)")
        return false
    }

    func shown(_ path: String) -> String { ConfigPlaces.shown(path) }

    private static func excerpt(_ value: JSON) -> String {
        let text = value.text()
        return text.utf8.count > 60 ? value.kind : text
    }

    // MARK: - Reading

    /// Fills keys from an object: unknown keys, wrong values and missing required keys become errors.
    func fill(_ keys: [any AnyKey], from object: JSONObject, at path: String) {
        for (name, value) in object {
            let at = path.isEmpty ? name : "\(path).\(name)"
            if let key = keys.first(where: { $0.spec.name == name }) {
                key.read(value, at, self)
            } else {
                unknown(name, at, among: keys)
            }
        }
        guard wanted == nil else { return }
        for key in keys where object[key.spec.name] == nil {
            let at = path.isEmpty ? key.spec.name : "\(path).\(key.spec.name)"
            if key.spec.isRequired {
                missing(key, at)
            } else if key is any SectionKey {
                // A section that is left out may still hold required keys.
                for inner in key.sections ?? [] where inner.spec.isRequired {
                    missing(inner, "\(at).\(inner.spec.name)")
                }
            }
        }
    }

    private func missing(_ key: any AnyKey, _ path: String) {
        let help = key.spec.help.prefix(1).lowercased() + key.spec.help.dropFirst()
        report(
            "\(shown(path)) is missing: \(help.hasSuffix(".") ? String(help.dropLast()) : help)",
            at: path,
            fix: "add \(ConfigReader.example(path, key.typeName))")
    }

    private static func example(_ path: String, _ type: String) -> String {
        let parts = path.split(separator: ".").filter { Int($0) == nil }
        guard let last = parts.last else { return type }
        let value = "\"\(last)\": \"...\" (\(type))"
        return parts.count > 1 ? "\(value) to \"\(parts[parts.count - 2])\"" : value
    }

    private func unknown(_ name: String, _ path: String, among keys: [any AnyKey]) {
        let fix: String
        if let near = nearest(name, among: keys.map(\.spec.name)) {
            fix = "did you mean \"\(near)\"?"
        } else if let home = ConfigSchema.home(of: name) {
            fix = "it belongs to \"\(home)\": move it there"
        } else {
            fix = "remove it; known here: \(keys.map(\.spec.name).joined(separator: ", "))"
        }
        report("unknown key \"\(name)\"", at: path, fix: fix)
    }

    /// The absolute path for what the file says; tells when something must be there and is not.
    func resolve(_ text: String, _ kind: PathKind, _ path: String) -> String? {
        guard !text.isEmpty else {
            report("\(shown(path)) is empty", at: path, fix: "name a path")
            return nil
        }
        if kind == .plugin, !ConfigReader.isPluginPath(text) { return text }
        let home = text.hasPrefix("~/") ? Files.environment("HOME") : nil
        let written = home.map { Files.join($0, String(text.dropFirst(2))) } ?? text
        let full = Files.absolute(Files.join(folder, written))
        let isWanted = wanted?.contains { path == $0 || path.hasPrefix($0 + ".") } ?? true
        guard isWanted else { return full }
        switch kind {
        case .output: return full
        case .plugin:
            let file = full.lastIndex(of: "#").map { String(full[..<$0]) } ?? full
            if Files.isRegular(file) { return full }
            return absent("plugin file", text, file, path, .unavailable)
        case .library:
            if let file = NativeFunction.find(library: full) { return file }
            if !text.contains("/"), let file = NativeFunction.find(library: text) { return file }
            return absent("library", text, full, path, .unavailable, NativeFunction.nameHint)
        case .file:
            if Files.exists(full), !Files.isDirectory(full) { return full }
            return absent(
                Files.exists(full) ? "file (it is a folder)" : "file", text, full, path, .noInput)
        case .folder:
            if Files.isDirectory(full) { return full }
            return absent(
                Files.exists(full) ? "folder (it is a file)" : "folder", text, full, path, .noInput)
        }
    }

    /// Whether a plugin is named by its file.
    package static func isPluginPath(_ text: String) -> Bool {
        text.contains("/") || text.hasSuffix(".so") || text.contains(".so#")
    }

    private func absent(
        _ what: String, _ text: String, _ full: String, _ path: String, _ code: ExitCode,
        _ advice: String? = nil
    ) -> String? {
        let folder = Files.parent(full)
        let names = ((try? Files.list(folder)) ?? []).filter { $0 != Files.name(full) }
        let isPlugin = code == .unavailable
        let candidates = isPlugin ? names.filter { $0.hasSuffix(".so") } : names
        let sources = names.filter {
            $0.hasSuffix(".c") || $0.hasSuffix(".cpp") || $0.hasSuffix(".swift")
        }
        let fix: String
        if let near = nearest(Files.name(full), among: candidates) {
            fix = "did you mean \"\(near)\" beside it?"
        } else if let advice {
            fix = advice
        } else if isPlugin, sources.count == 1 {
            fix = "build it first: keel plugin build \(Files.join(folder, sources[0])) -o \(full)"
        } else {
            fix = "check the path; it is relative to the config file"
        }
        report("\(shown(path)): no such \(what): \(text)", at: path, fix: fix, code: code)
        return nil
    }

    // MARK: - The file

    private func parse(_ path: String) throws -> JSONObject {
        let bytes: [UInt8]
        do {
            bytes = try Files.read(path)
        } catch let error as KeelError {
            throw KeelError("config", error.what, at: path, fix: error.fix, code: error.code)
        }
        do {
            let options: JSONScanner.Options = [.comments, .keyOffsets]
            do {
                _ = try JSONScanner.scan(bytes, name: path, options: options, duplicates: .reject)
            } catch let error as KeelError where error.what.hasSuffix("given twice") {
                errors.append(ConfigReader.asConfig(error))
            }
            let scan = try JSONScanner.scan(bytes, name: path, options: options)
            places = ConfigPlaces(file: path, bytes: bytes, offsets: scan.keyOffsets)
            let value = try JSON.parse(scan.cleaned, name: path)
            guard let object = value.object else {
                throw KeelError(
                    "config", "a config is an object, this file holds \(value.kind)",
                    at: "\(path):1:1",
                    fix: "write { \"model\": ... }")
            }
            return object
        } catch let error as KeelError {
            throw ConfigReader.asConfig(error)
        }
    }

    private static func asConfig(_ error: KeelError) -> KeelError {
        KeelError("config", error.what, at: error.at, fix: error.fix, code: .config)
    }

    private func renameAliases() {
        for (section, aliases) in ConfigAliases.keys.sorted(by: { $0.key < $1.key }) {
            guard let object = root[section]?.object else { continue }
            var renamed = JSONObject()
            for (key, value) in object {
                guard let name = aliases[key] else {
                    renamed.append(key, value)
                    continue
                }
                let at = "\(section).\(key)"
                if object[name] != nil || renamed[name] != nil {
                    report(
                        "\"\(key)\" is another name of \"\(name)\", and both are given", at: at,
                        fix: "remove one of the two")
                    continue
                }
                renamed.append(name, value)
                places.rename(at, to: "\(section).\(name)")
                note("\"\(key)\" is read as \"\(name)\"", at: at)
            }
            root[section] = .object(renamed)
        }
    }

    private func apply(_ override: String) {
        guard let equals = override.firstIndex(of: "="), equals != override.startIndex else {
            errors.append(
                KeelError(
                    "config", "an override without a value: \(override)", at: "--set \(override)",
                    fix: "write it as --set train.learning_rate=1e-5", code: .usage))
            return
        }
        var parts = override[..<equals].split(separator: ".", omittingEmptySubsequences: false).map(
            String.init)
        if parts.count == 2, let name = ConfigAliases.keys[parts[0]]?[parts[1]] { parts[1] = name }
        let text = String(override[override.index(after: equals)...])
        let value = (try? JSON.parse(text, duplicates: .reject)) ?? .string(text)
        guard let changed = ConfigReader.setting(.object(root), parts[...], value)?.object else {
            errors.append(
                KeelError(
                    "config", "nothing to override at \"\(parts.joined(separator: "."))\"",
                    at: "--set \(override)",
                    fix: "keys are section.key; elements of a list count from 0: rewards.0.weight",
                    code: .usage))
            return
        }
        root = changed
        places.override(parts.joined(separator: "."), by: override)
    }

    /// `tree` with one value set; sections that are not there are made, list elements are not.
    private static func setting(_ tree: JSON, _ path: ArraySlice<String>, _ value: JSON) -> JSON? {
        guard let key = path.first else { return value }
        guard !key.isEmpty else { return nil }
        let rest = path.dropFirst()
        switch tree {
        case .object(var object):
            guard let inner = setting(object[key] ?? .object([:]), rest, value) else { return nil }
            object[key] = inner
            return .object(object)
        case .array(var items):
            guard let index = Int(key), items.indices.contains(index),
                let inner = setting(items[index], rest, value)
            else { return nil }
            items[index] = inner
            return .array(items)
        // "reference": "initial" gives way to reference.path=DIR.
        default: return setting(.object([:]), path, value)
        }
    }
}
