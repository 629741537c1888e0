import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Caches that are damaged are made anew, without a word and without a trace in the numbers.
@Suite struct HostileCacheTests {
    enum Damage: String, CaseIterable, Sendable {
        case emptied, halved, flipped, digit, text, folder

        func apply(_ file: String) throws {
            var bytes = try Files.read(file)
            switch self {
            case .emptied: bytes = []
            case .halved: bytes.removeLast(bytes.count / 2)
            case .flipped: bytes[bytes.count / 2] ^= 1
            case .digit:
                // Still JSON, where it was: another number.
                guard let at = bytes.lastIndex(where: { (0x31...0x38).contains($0) }) else {
                    return
                }
                bytes[at] += 1
            case .text: bytes = Array("no cache\n".utf8)
            case .folder:
                try Files.remove(file)
                try Files.makeDirectory(file)
                return
            }
            try AtomicWrite.file(file, bytes)
        }
    }

    @Test(arguments: Damage.allCases)
    func damagedCaches(damage: Damage) throws {
        let work = try HostileFolder()
        let first = try keel(
            ["train", "dpo.json", "--output-dir", "first", "--plugin-path", "."],
            in: work.folder.path)
        try #require(first.code == 0, "\(first.errors)")
        let caches = try FileManager.default.subpathsOfDirectory(
            atPath: work.folder.path(".cache")
        ).map { work.folder.path(".cache/\($0)") }.filter(Files.isRegular)
        #expect(
            Set(caches.map { Files.name(Files.parent($0)) }) == ["keel", "tokens", "reference"])
        for file in caches { try damage.apply(file) }

        let second = try keel(
            ["train", "dpo.json", "--output-dir", "second", "--plugin-path", "."],
            in: work.folder.path)
        #expect(second.code == 0, "\(second.errors)")
        if damage != .folder {
            #expect(HostileCacheTests.words(second) == HostileCacheTests.words(first))
        }
        for name in ["model.safetensors", "checkpoint-4/optimizer.safetensors"] {
            #expect(
                try Files.read(work.folder.path("first/\(name)"))
                    == Files.read(work.folder.path("second/\(name)")), "\(name)")
        }
        try work.expectNothingPartial()
    }

    /// What a run said, without what a clock and the process's size measured.
    private static func words(_ outcome: Outcome) -> [String] {
        outcome.errors.replacingOccurrences(
            of: "eta [0-9]+ s", with: "", options: .regularExpression
        )
        .replacingOccurrences(of: "second", with: "first").components(separatedBy: "\n")
        .filter { !$0.hasPrefix("memory: ") }
    }
}
