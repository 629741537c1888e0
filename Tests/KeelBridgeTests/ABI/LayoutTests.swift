import Foundation
import KeelBridge
import KeelCore
import KeelTestSupport
import Testing

/// What `keel.h` promised with a release stays: offsets, sizes, types, numbers.
struct LayoutTests {
    /// The compilers that are here; the system's own must be.
    static let compilers: [[String]] = [
        ["gcc", "-x", "c", "-std=c11"], ["clang", "-x", "c", "-std=c11"],
        ["g++", "-x", "c++", "-std=c++20"], ["clang++", "-x", "c++", "-std=c++20"],
    ].filter { Subprocess.find($0[0]) != nil }

    private static let asserts = ABI.read("layout.h")
    private static let header = ABI.header

    /// One `KEEL_FIELD` line.
    private struct Field {
        var owner: String
        var name: String
        var offset: Int
        var size: Int
        var type: String
    }

    private static let fields: [Field] = asserts.matches(
        of: /KEEL_FIELD\((\w+), (\w+), ([0-9]+), ([0-9]+), (.*)\)\n/
    ).map {
        Field(
            owner: "\($0.1)", name: "\($0.2)", offset: Int($0.3) ?? -1, size: Int($0.4) ?? -1,
            type: "\($0.5)")
    }

    /// Whether a compiler accepts a header together with the asserts.
    private func accepts(_ compiler: [String], _ header: String) throws -> Bool {
        let folder = try TemporaryFolder()
        let path = try folder.write("keel.h", header)
        let silent = ["sh", "-c", "\"$@\" 2>/dev/null", "sh"]
        return try Subprocess.run(
            silent + compiler + [
                "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-include", path,
                ABI.path("layout.h"),
            ]) == 0
    }

    @Test func thereIsACompilerForCAndForCPlusPlus() {
        #expect(Self.compilers.contains { $0[2] == "c" })
        #expect(Self.compilers.contains { $0[2] == "c++" })
    }

    @Test(arguments: compilers) func theHeaderIsCleanAndKeepsItsLayout(_ compiler: [String]) throws
    {
        #expect(try accepts(compiler, Self.header), "\(compiler[0]) refuses keel.h with layout.h")
    }

    /// Changes that break old plugins, as text edits; each must be refused by the asserts alone.
    @Test(arguments: [
        ("swap", "const char *id, *version;", "const char *version, *id;"),
        (
            "rename", "int (*has)(keel_call *c, const char *column);",
            "int (*was)(keel_call *c, const char *column);"
        ),
        (
            "insert", "    int (*cancelled)(",
            "    int (*paused)(keel_call *c);\n    int (*cancelled)("
        ),
        ("remove", "    const keel_name *heads;", "    //"),
        ("retype", "uint32_t seq_bytes;", "uint64_t seq_bytes;"),
        ("retype in place", "const char *help;      /*", "const void *help;      /*"),
        ("sign", "int32_t kind; ", "uint32_t kind; "),
        (
            "signature", "keel_status (*score)(void *self, keel_call *c, size_t n, float *out);",
            "keel_status (*score)(void *self, keel_call *c, size_t n, double *out);"
        ),
        ("renumber", "KEEL_OP_MEAN = 81", "KEEL_OP_MEAN = 79"),
        ("renumber a flag", "KEEL_LINEAR = 16", "KEEL_LINEAR = 64"),
        ("grow a fixed struct", "uint64_t byte_offset;", "uint64_t byte_offset, more;"),
    ]) func aBrokenLayoutDoesNotCompile(_ name: String, _ old: String, _ new: String) throws {
        let broken = Self.header.replacingOccurrences(of: old, with: new)
        try #require(broken != Self.header, "the header has no `\(old)`")
        for compiler in Self.compilers {
            #expect(try !accepts(compiler, broken), "\(compiler[0]): \(name)")
        }
    }

    @Test func growthAtTheEndCompiles() throws {
        let grown = ABI.newerHeader
        try #require(grown != Self.header)
        for compiler in Self.compilers { #expect(try accepts(compiler, grown)) }
    }

    // MARK: - Nothing is left out

    @Test func everyFieldAndNumberOfTheHeaderIsAsserted() throws {
        let functions = Self.header.matches(of: /\(\*(\w+)\)\(/).map { "\($0.1)" }
        #expect(functions.count > 40)
        for name in Set(functions) { #expect(Self.fields.contains { $0.name == name }, "\(name)") }
        let numbers = Self.header.matches(of: /(KEEL_[A-Z0-9_]+) = (-?[0-9]+)/)
        #expect(numbers.count > 80)
        for number in numbers {
            #expect(
                Self.asserts.contains("KEEL_NUMBER(\(number.1), \(number.2))\n"),
                "\(number.1) is not asserted: Tests/ABI/layout.sh append")
        }
        let asserted = Self.asserts.matches(of: /\nKEEL_NUMBER\(/).count
        #expect(asserted == numbers.count, "layout.h asserts numbers that the header does not have")
    }

    /// The asserted fields lie behind each other without a hole that could hide one.
    @Test func theAssertedFieldsCoverTheirStructs() throws {
        let sizes = Self.asserts.matches(of: /KEEL_(?:STRUCT|FIXED)\((\w+), (?:\d+, )?(\d+)\)\n/)
            .map { ("\($0.1)", Int($0.2) ?? 0) }
        #expect(Set(sizes.map(\.0)).count == 9)
        for (name, size) in Dictionary(sizes, uniquingKeysWith: max) {
            var end = 0
            for field in Self.fields.filter({ $0.owner == name }).sorted(by: {
                $0.offset < $1.offset
            }) {
                #expect(field.offset >= end && field.offset - end < field.size, "\(field)")
                end = field.offset + field.size
            }
            #expect(size - end >= 0 && size - end < 8, "\(name) ends at \(end) of \(size)")
        }
    }

    /// Structs that grow say how long they are; those in arrays say how far apart they lie.
    @Test func structsThatGrowBeginWithTheirSize() throws {
        let names = Set(
            Self.header.matches(of: /struct (\w+) \{/).map { "\($0.1)" })
        let fixed = Set(Self.asserts.matches(of: /\nKEEL_FIXED\((\w+),/).map { "\($0.1)" })
        let strided = ["keel_param": "param", "keel_phase": "phase"]
        for name in names.subtracting(fixed) {
            if let word = strided[name] {
                let owner = Self.fields.filter { $0.owner == "keel_component" }.map(\.name)
                #expect(owner.contains("\(word)_count") && owner.contains("\(word)_stride"))
                continue
            }
            let first = Self.fields.first { $0.owner == name }
            #expect(
                first?.name == "size" && first?.offset == 0 && first?.type == "uint32_t",
                "\(name) does not begin with `uint32_t size`")
        }
        #expect(
            names
                == fixed.union(strided.keys).union(["keel_host", "keel_component", "keel_plugin"]))
    }

    /// The lines of a release never change: their hash is written down here, once per minor.
    @Test(arguments: [("0", "5002de46d9a8682bb34db397a33bce72408e8a56774a3f77e0edfd7206613b1b")])
    func releasedAssertsAreOnlyAppendedTo(_ minor: String, _ hash: String) throws {
        let start = try #require(Self.asserts.range(of: "/* ---- 1.\(minor) */\n"))
        let rest = Self.asserts[start.upperBound...]
        let end = rest.range(of: "\n/* ---- ")?.lowerBound ?? rest.endIndex
        #expect(SHA256.hex(Array(rest[..<end].utf8)) == hash)
    }
}
