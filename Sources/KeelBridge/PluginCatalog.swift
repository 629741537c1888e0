import KeelCore
import Synchronization

/// Finds plugins by component name or path.
///
/// What a file describes is remembered in the cache folder with its size and time of change, so that looking a name
/// up loads nothing.
package final class PluginCatalog: Sendable {
    /// A folder that is searched.
    struct Folder: Sendable {
        var path: String
        /// One of Keel's own.
        var isBuiltIn: Bool
        /// Only files that begin so count.
        var prefix = ""
    }

    /// A file of the search folders that is no usable plugin.
    package struct Broken: Sendable {
        package var path: String
        package var error: KeelError
    }

    private struct Scan {
        var components: [Component] = []
        var broken: [Broken] = []

        /// Adds what a file was found to hold.
        mutating func take(_ entry: JSON, of path: String, isBuiltIn: Bool) {
            if let error = entry["error"]?.string {
                broken.append(
                    Broken(
                        path: path,
                        error: KeelError(
                            "plugin", error, at: path, fix: entry["fix"]?.string,
                            code: .unavailable)))
            }
            for json in entry["components"]?.array ?? [] {
                guard var component = Component(json: json) else { continue }
                component.isBuiltIn = isBuiltIn
                components.append(component)
            }
        }
    }

    private let folders: [Folder]
    private let cache: PluginCache
    /// Files that this process has loaded: of components that run in it.
    private let loaded = Guarded<[String: [LoadedComponent]]>([:])
    /// What files hold that were only looked at, by a worker.
    private let described = Guarded<[String: [Component]]>([:])
    private let scan = Guarded<Scan?>(nil)

    /// - Parameters:
    ///   - searchPaths: every folder that is searched, the first ones first.
    ///   - cacheFolder: where descriptions are remembered; nil = the user's cache folder.
    package init(searchPaths: [String], cacheFolder: String? = nil) {
        let beside = Files.parent(Files.executable)
        let near = [beside, Files.absolute(Files.join(beside, "../lib/keel/plugins"))]
        let system = ["/usr/local/lib/keel/plugins", "/usr/lib/keel/plugins"].filter {
            !near.contains($0)
        }
        let all = searchPaths.map(Files.absolute)
        // Keel's own plugins come from where this executable lies before another installation's.
        folders =
            all.filter { !near.contains($0) && !system.contains($0) }.map {
                Folder(path: $0, isBuiltIn: false)
            }
            + near.filter(all.contains).map {
                Folder(path: $0, isBuiltIn: true, prefix: $0 == beside ? "libkeel-" : "")
            }
            + system.filter(all.contains).map { Folder(path: $0, isBuiltIn: true) }
        cache = PluginCache(folder: cacheFolder ?? Files.userFolder("XDG_CACHE_HOME", ".cache"))
    }

    /// Folders in the order of the search.
    package var searchPaths: [String] { folders.map(\.path) }

    /// Every component that the search finds, and the files that cannot be used.
    package func list() -> (components: [Component], broken: [Broken]) {
        scan.withLock { known in
            if let known { return (known.components, known.broken) }
            let fresh = scanFolders()
            known = fresh
            return (fresh.components, fresh.broken)
        }
    }

    /// A component by name (`dpo`), path (`./libmy.so`) or both (`libmy.so#dpo`).
    ///
    /// - Parameter kind: what it must be; nil = anything.
    /// - Throws: `KeelError` (unavailable) with the nearest name, or the reason why the file is none.
    package func find(_ nameOrPath: String, kind: ComponentKind?) throws -> Component {
        if nameOrPath.contains("/") || nameOrPath.contains(".so") {
            return try find(path: nameOrPath, kind: kind)
        }
        let all = list()
        let named = all.components.filter { $0.name == nameOrPath }
        let fitting = kind.map { kind in named.filter { $0.kind == kind } } ?? named
        if let chosen = try choose(nameOrPath, fitting) { return chosen }
        throw notFound(nameOrPath, kind, named: named, all: all)
    }

    /// The one that a name means.
    ///
    /// Keel's own plugins yield to nobody silently, and nobody to them.
    private func choose(_ name: String, _ fitting: [Component]) throws -> Component? {
        let own = fitting.first { $0.isBuiltIn }
        let users = fitting.filter { !$0.isBuiltIn }
        let candidates = users + (own.map { [$0] } ?? [])
        guard let first = candidates.first else { return nil }
        guard candidates.allSatisfy({ $0.sha256 == first.sha256 && $0.kind == first.kind }) else {
            throw KeelError(
                "plugin",
                "several plugins are called \"\(name)\": \(candidates.map(\.path).joined(separator: ", "))",
                fix: "give the path of the one you mean", code: .unavailable)
        }
        return first
    }

    /// All components of a file, or the one that a name means.
    package func components(_ nameOrPath: String) throws -> [Component] {
        guard nameOrPath.contains("/") || nameOrPath.contains(".so"), !nameOrPath.contains("#")
        else {
            return [try find(nameOrPath, kind: nil)]
        }
        return try look(Files.absolute(nameOrPath))
    }

    private func notFound(
        _ name: String, _ kind: ComponentKind?, named: [Component],
        all: (components: [Component], broken: [Broken])
    ) -> KeelError {
        let words = kind?.words ?? "plugin"
        if let other = named.first {
            return KeelError(
                "plugin", "\"\(name)\" is a \(other.kind.words), not a \(words)", at: other.path,
                fix: known(kind, all.components), code: .unavailable)
        }
        if let broken = all.broken.first(where: {
            Files.name($0.path) == "lib\(name).so" || Files.name($0.path) == "libkeel-\(name).so"
        }) {
            return broken.error
        }
        let candidates = all.components.filter { kind == nil || $0.kind == kind }.map(\.name)
        let near = nearest(name, among: candidates).map { "did you mean \"\($0)\"? " } ?? ""
        return KeelError(
            "plugin", "no \(words) is called \"\(name)\"",
            at: folders.map(\.path).joined(separator: ":"),
            fix: near + known(kind, all.components) + "; a path (./lib\(name).so) works too",
            code: .unavailable)
    }

    private func known(_ kind: ComponentKind?, _ components: [Component]) -> String {
        let names = Set(components.filter { kind == nil || $0.kind == kind }.map(\.name)).sorted()
        return names.isEmpty
            ? "no plugins were found in the search folders"
            : "known: \(names.joined(separator: ", "))"
    }

    private func find(path spec: String, kind: ComponentKind?) throws -> Component {
        var path = spec
        var name: String?
        if let hash = spec.lastIndex(of: "#") {
            path = String(spec[..<hash])
            name = String(spec[spec.index(after: hash)...])
        }
        let components = try look(Files.absolute(path))
        let fitting = components.filter {
            (kind == nil || $0.kind == kind) && (name == nil || $0.name == name)
        }
        if fitting.count == 1 { return fitting[0] }
        let words = kind?.words ?? "component"
        let titles = components.map(\.title).joined(separator: ", ")
        if fitting.isEmpty {
            let what = name.map { "\(words) called \"\($0)\"" } ?? words
            let near =
                name.flatMap { nearest($0, among: components.map(\.name)) }.map {
                    "did you mean \"\($0)\"? "
                } ?? ""
            throw KeelError(
                "plugin", "the plugin holds no \(what)", at: path,
                fix: near + "it holds: \(titles)", code: .unavailable)
        }
        throw KeelError(
            "plugin", "the plugin holds several \(words)s", at: path,
            fix: "say which: \(fitting.map { "\(path)#\($0.name)" }.joined(separator: ", "))",
            code: .unavailable)
    }

    // MARK: - Loading

    /// Loads the file of a component into this process.
    func load(_ component: Component) throws -> LoadedComponent {
        let all = try open(component.path)
        guard
            let one = all.first(where: {
                $0.component.name == component.name && $0.component.kind == component.kind
            })
        else {
            throw KeelError(
                "plugin", "the plugin no longer holds the \(component.title)", at: component.path,
                code: .unavailable)
        }
        return one
    }

    /// What a file holds; it is not loaded into this process.
    private func look(_ path: String) throws -> [Component] {
        if let known = described.withLock({ $0[path] }) { return known }
        let fresh = try WorkerDescription.components(of: path)
        described.withLock { $0[path] = fresh }
        return fresh
    }

    private func open(_ path: String) throws -> [LoadedComponent] {
        if let known = loaded.withLock({ $0[path] }) { return known }
        let fresh = try Library.open(path)
        loaded.withLock { $0[path] = fresh }
        return fresh
    }

    // MARK: - Scanning

    private func scanFolders() -> Scan {
        var result = Scan()
        var seen: Set<String> = []
        for folder in folders
        where seen.insert(folder.path).inserted && Files.isDirectory(folder.path) {
            let remembered = cache.read(folder.path)
            var found: [String: JSON] = [:]
            for name in (try? Files.list(folder.path)) ?? []
            where name.hasSuffix(".so") && name.hasPrefix(folder.prefix) {
                let path = Files.join(folder.path, name)
                guard Files.isRegular(path) else { continue }
                let stamp = "\(Files.size(path) ?? 0) \(Files.modified(path) ?? 0)"
                let entry =
                    if let known = remembered[name], known["stamp"]?.string == stamp {
                        known
                    } else {
                        describe(path, stamp: stamp)
                    }
                // What is wrong with a file may be mended outside of it: a library installed, Keel renewed.
                if entry["error"] == nil { found[name] = entry }
                result.take(entry, of: path, isBuiltIn: folder.isBuiltIn)
            }
            if found != remembered { cache.write(folder.path, found) }
        }
        return result
    }

    /// What a file holds, as the cache keeps it.
    private func describe(_ path: String, stamp: String) -> JSON {
        var object: JSONObject = ["stamp": .string(stamp)]
        do {
            object["components"] = .array(try look(path).map(\.json))
        } catch {
            let first = (error as? KeelErrors)?.errors.first ?? (error as? KeelError)
            object["error"] = .string(first?.what ?? "\(error)")
            if let fix = first?.fix { object["fix"] = .string(fix) }
        }
        return .object(object)
    }
}
