import Foundation
import KeelCore
import Testing

@testable import KeelBridge

struct PluginCatalogTests {
    /// A folder of its own with copies of the zoo under other names.
    private func folder(_ name: String, _ files: [String: String]) throws -> String {
        let path = "\(Zoo.folder)/\(name)"
        try? FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (file, source) in files {
            try FileManager.default.copyItem(atPath: source, toPath: "\(path)/\(file)")
        }
        return path
    }

    private func reward(_ file: String, help: String) throws -> String {
        try Zoo.build(
            file,
            """
            #include "keel.h"
            static keel_status score(void *s, keel_call *c, size_t n, float *o) { (void)s; (void)c; (void)n; (void)o; return 0; }
            static const keel_component r = KEEL_REWARD(.name = "polite", .help = "\(help)", .score = score);
            KEEL_PLUGIN("org.example.\(file)", "1.0", &r)
            """)
    }

    @Test func componentsAreFoundByNameAndPath() throws {
        let path = try Zoo.path.get()
        let folder = try folder("names", ["libzoo.so": path])
        let catalog = PluginCatalog(searchPaths: [folder], cacheFolder: folder)
        #expect(try catalog.find("zoo_dpo", kind: .objective).path == "\(folder)/libzoo.so")
        #expect(try catalog.find("\(folder)/libzoo.so", kind: .dataSampler).name == "zoo_shuffle")
        #expect(try catalog.find("\(folder)/libzoo.so#zoo_bad", kind: .objective).name == "zoo_bad")
        #expect(
            message { _ = try catalog.find("zoo_dpp", kind: .objective) }.contains(
                "did you mean \"zoo_dpo\"?"))
        let wrongKind = message { _ = try catalog.find("zoo_count", kind: .objective) }
        #expect(wrongKind.contains("\"zoo_count\" is a reward"))
        #expect(
            message { _ = try catalog.find("\(folder)/libzoo.so", kind: .objective) }.contains(
                "holds several objectives"))
        #expect(
            message { _ = try catalog.find("\(folder)/libzoo.so#zoo_dop", kind: nil) }.contains(
                "did you mean \"zoo_dpo\"?"))
        let error = #expect(throws: KeelError.self) {
            try catalog.find("nothing_like_it", kind: .reward)
        }
        #expect(error?.code == .unavailable)
    }

    @Test func twoPluginsOfOneNameNeedAPath() throws {
        let first = try reward("polite1", help: "one")
        let second = try reward("polite2", help: "two")
        let folder = try folder("collide", ["liba.so": first, "libb.so": second, "libc.so": first])
        let catalog = PluginCatalog(searchPaths: [folder], cacheFolder: folder)
        let text = message { _ = try catalog.find("polite", kind: .reward) }
        #expect(text.contains("several plugins are called \"polite\"") && text.contains("libb.so"))
        #expect(try catalog.find("\(folder)/libb.so", kind: .reward).help == "two")
        let same = try self.folder("same", ["liba.so": first, "libc.so": first])
        #expect(
            try PluginCatalog(searchPaths: [same], cacheFolder: same).find("polite", kind: .reward)
                .help == "one")
    }

    @Test func aSecondLookLoadsNothing() throws {
        let folder = try folder("cached", ["liba.so": try reward("polite3", help: "as described")])
        #expect(
            PluginCatalog(searchPaths: [folder], cacheFolder: folder).list().components.map(\.help)
                == ["as described"])
        let cache = try cache(in: folder)
        let text = try String(contentsOfFile: cache, encoding: .utf8)
        try forge(cache, "as described", "as remembered")
        #expect(
            PluginCatalog(searchPaths: [folder], cacheFolder: folder).list().components.map(\.help)
                == ["as remembered"])
        // A file whose size or time differs from what was noted is read again.
        try forge(cache, "\"stamp\":\"", "\"stamp\":\"1")
        #expect(
            PluginCatalog(searchPaths: [folder], cacheFolder: folder).list().components.map(\.help)
                == ["as described"])
        // A damaged cache is no error, and is not believed.
        for damaged in ["{", text.replacingOccurrences(of: "as described", with: "as described?")] {
            try damaged.write(toFile: cache, atomically: true, encoding: .utf8)
            #expect(
                PluginCatalog(searchPaths: [folder], cacheFolder: folder).list().components.map(
                    \.help)
                    == ["as described"])
        }
    }

    /// The one file that remembers plugins.
    private func cache(in folder: String) throws -> String {
        let names = try Files.list(folder).filter { $0.hasPrefix("plugins-") }
        #expect(names.count == 1)
        return Files.join(folder, try #require(names.first))
    }

    /// Replaces a part of a cache so that it still looks whole.
    private func forge(_ cache: String, _ old: String, _ new: String) throws {
        let text = try String(contentsOfFile: cache, encoding: .utf8)
        let json = text.drop { $0 != "\n" }.dropFirst().replacingOccurrences(of: old, with: new)
        try "\(SHA256.hex(json))\n\(json)".write(toFile: cache, atomically: true, encoding: .utf8)
    }

    /// Files and folders that are gone are forgotten, others are not.
    @Test func theCacheFollowsTheFolders() throws {
        let plugin = try reward("polite4", help: "kept")
        let caches = try folder("caches", [:])
        let first = try folder("first", ["liba.so": plugin, "libb.so": plugin])
        let second = try folder("second", ["libc.so": plugin])
        func look(_ folder: String) throws -> Int {
            let catalog = PluginCatalog(searchPaths: [folder, folder], cacheFolder: caches)
            return catalog.list().components.count
        }
        func remembered() throws -> [String] {
            try Files.list(caches).map { try Files.readText(Files.join(caches, $0)) }
        }
        #expect(try look(first) == 2 && look(second) == 1)
        #expect(try remembered().count == 2)
        try Files.remove("\(first)/libb.so")
        #expect(try look(first) == 1)
        #expect(try remembered().allSatisfy { !$0.contains("libb.so") })
        #expect(try remembered().contains { $0.contains("libc.so") })
        try Files.remove(first)
        _ = try look(try folder("third", ["libd.so": plugin]))
        #expect(try remembered().count == 2)
        #expect(try remembered().allSatisfy { !$0.contains("liba.so") })
    }

    @Test func brokenFilesAreListedApart() throws {
        let folder = try folder("broken", ["libzoo.so": try Zoo.path.get()])
        try "text".write(toFile: "\(folder)/libmine.so", atomically: true, encoding: .utf8)
        let catalog = PluginCatalog(searchPaths: [folder], cacheFolder: folder)
        #expect(catalog.list().broken.map { Files.name($0.path) } == ["libmine.so"])
        #expect(
            message { _ = try catalog.find("mine", kind: .reward) }.contains(
                "libmine.so is not a shared library"))
    }

    @Test func descriptionsSurviveTheCache() throws {
        for loaded in try Library.open(try Zoo.path.get()) {
            let text = loaded.component.json.text()
            #expect(Component(json: try JSON.parse(text)) == loaded.component, "\(text)")
        }
    }
}
