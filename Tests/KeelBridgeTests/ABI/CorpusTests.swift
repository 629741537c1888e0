import Foundation
import Glibc
import KeelCore
import Testing

@testable import KeelBridge

/// Plugins frozen with a release load in every later Keel and give what they gave (Tests/ABI/README.md).
@Suite(.serialized) struct CorpusTests {
    /// x86-64 with the library that the losses were recorded with.
    static var isReference: Bool {
        #if arch(x86_64)
            typealias Version = @convention(c) () -> UnsafePointer<CChar>
            guard let symbol = dlsym(dlopen(nil, RTLD_NOW), "gnu_get_libc_version") else {
                return false
            }
            return String(cString: unsafeBitCast(symbol, to: Version.self)()) == "2.36"
        #else
            return false
        #endif
    }

    private static var machine: String {
        #if arch(x86_64)
            "x86_64"
        #else
            "aarch64"
        #endif
    }

    /// What a plugin was when it was frozen; written anew only with KEEL_RECORD_ABI=1, for a new minor.
    static func record(_ name: String) throws -> JSON {
        try #require(
            try JSON.parse(ABI.read("1.0/expected.json"), name: "expected.json")[name],
            "no record of \(name)")
    }

    private func expectRecorded(_ path: String, _ name: String) throws {
        let corpus = try Corpus(path: path)
        if ProcessInfo.processInfo.environment["KEEL_RECORD_ABI"] == "1" {
            var all =
                (try? JSON.parse(ABI.read("1.0/expected.json"), name: "record").object)
                ?? JSONObject()
            all[name] = corpus.json
            try JSON.object(all).text(pretty: true).write(
                toFile: ABI.path("1.0/expected.json"), atomically: true, encoding: .utf8)
        }
        let differences = corpus.differences(
            from: try CorpusTests.record(name), isReference: CorpusTests.isReference)
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    @Test func theFrozenSourceCompilesWithItsHeaderAndRuns() throws {
        let path = try ABI.compile(
            ABI.path("1.0/plugin.c"), include: ABI.path("1.0"), name: "frozen_source.so")
        try expectRecorded(path, "c")
    }

    @Test func theFrozenSourceCompilesWithTodaysHeaderAndRuns() throws {
        let path = try ABI.compile(
            ABI.path("1.0/plugin.c"), include: ABI.include, name: "frozen_today.so")
        try expectRecorded(path, "c")
    }

    @Test func theFrozenBinaryLoadsAndGivesTheRecordedBits() throws {
        let path = ABI.path("1.0/plugin_c.\(Self.machine).so")
        guard FileManager.default.fileExists(atPath: path) else { return }
        try expectRecorded(path, "c")
    }

    @Test func theFrozenStaticSwiftBinaryLoadsAndGivesTheRecordedBits() throws {
        let packed = ABI.path("1.0/plugin_swift.\(Self.machine).so.gz")
        guard FileManager.default.fileExists(atPath: packed) else { return }
        let path = "\(Zoo.folder)/frozen_swift.so"
        let status = try Subprocess.run(["sh", "-c", "gzip -dc '\(packed)' >'\(path)'"])
        try #require(status == 0)
        try expectRecorded(path, "swift")
    }

    /// The two speak the same contract: where both compute the same, they agree.
    @Test func theSwiftPluginAgreesWithTheCPlugin() throws {
        let (c, swift) = (try Self.record("c"), try Self.record("swift"))
        for key in [
            "reward/plain/0", "reward/noisy/1", "reward/plain/tokens", "phases/advantages",
            "explicit/gradient", "tokens/2", "order/1",
        ] {
            #expect(c["exact"]?[key] == swift["exact"]?[key], "\(key)")
        }
    }

    /// Files of a released minor never change.
    @Test(arguments: [
        ("keel.h", "49ca36cad672e710d25e0757ab7742b668893efcbc77d22abe52bfdf6a120ae8"),
        ("plugin.c", "1f619a8d596433764fab6cfe28198fa97c10d970baa8dfc6bda69f1d6606ec0c"),
        ("plugin.swift", "7a7859cfc9bbaf59a13408d3d8b2fc08c7aa52a76d7b5f7b393b79ce7e3fc9d5"),
        ("plugin_c.x86_64.so", "0317f8bc5227a4739713b6fea5508844e6b7ac6ac348480963106fb25f1b1f13"),
        (
            "plugin_swift.x86_64.so.gz",
            "f75dda48424424abea51b9966ef774030765973b0a1eab154aaec7f90a7412aa"
        ),
        ("expected.json", "c2c02c93c59aa8e9ce43babf8aa8d54263d735e978f8ada38776aa6b93c69017"),
    ])
    func frozenFilesAreUntouched(_ name: String, _ hash: String) throws {
        #expect(try SHA256.hex(file: ABI.path("1.0/\(name)")) == hash, "\(name) has changed")
    }
}
