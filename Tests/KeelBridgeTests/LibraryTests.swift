import Foundation
import KeelCore
import Testing

@testable import KeelBridge

struct LibraryTests {
    private func refusal(_ path: String) -> String { message { _ = try Library.open(path) } }

    @Test func whatIsNoPluginIsRefusedWithItsReason() throws {
        #expect(
            refusal("/nowhere/lib.so").hasPrefix(
                "error[plugin]: no such plugin file\n  at:  /nowhere/lib.so"))
        #expect(refusal(Zoo.folder).contains("is not a regular file"))
        let text = "\(Zoo.folder)/text.so"
        try String(repeating: "not a library ", count: 20).write(
            toFile: text, atomically: true, encoding: .utf8)
        #expect(refusal(text).contains("text.so is not a shared library (no ELF header)"))
        let empty = "\(Zoo.folder)/empty.so"
        try Data().write(to: URL(fileURLWithPath: empty))
        #expect(refusal(empty).contains("no ELF header"))
        let plain = try Zoo.build("plain", "int answer(void) { return 42; }")
        #expect(
            refusal(plain).contains(
                "plain.so is not a Keel plugin: it does not export keel_plugin_v1"))
        let undefined = try Zoo.build(
            "undefined",
            "void nowhere_to_be_found(void); void *keel_plugin_v1(void) { nowhere_to_be_found(); return 0; }"
        )
        #expect(refusal(undefined).contains("nowhere_to_be_found"))
        let nothing = try Zoo.build("nothing", "void *keel_plugin_v1(void) { return 0; }")
        #expect(refusal(nothing).contains("returned nothing"))
    }

    @Test func aLibraryOfAnotherMachineIsNamed() throws {
        var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: try Zoo.path.get())))
        bytes[18] = 40
        bytes[19] = 0
        let path = "\(Zoo.folder)/arm.so"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        #expect(refusal(path).contains("was built for 32-bit ARM, this machine is"))
    }

    /// A damaged file ends in an error of its own; nothing is loaded, nothing is read out of bounds.
    @Test func lyingTablesAreRefused() throws {
        let good = [UInt8](try Data(contentsOf: URL(fileURLWithPath: try Zoo.path.get())))
        let stream = RandomStream(seed: 1, place: "elf")
        for round in 0..<300 {
            var bad = good
            if round % 3 == 0 {
                bad = Array(bad.prefix(Int(stream.below(UInt64(good.count), UInt64(round)))))
            }
            for hit in 0..<4 where bad.count > 64 {
                let number = UInt64(round * 8 + hit)
                let fromEnd = min(bad.count, 2000)
                let at =
                    round % 2 == 0
                    ? 24 + Int(stream.below(40, number))
                    : bad.count - 1 - Int(stream.below(UInt64(fromEnd), number))
                bad[at] = UInt8(truncatingIfNeeded: stream.bits(UInt64(round * 8 + hit)))
            }
            let path = "\(Zoo.folder)/damaged.so"
            try Data(bad).write(to: URL(fileURLWithPath: path))
            _ = message { _ = try Library.check(path) }
        }
    }

    @Test func aPluginThatWantsANewerHostIsRefusedInOneSentence() throws {
        let path = try Zoo.build(
            "newer",
            """
            #define KEEL_API 7
            #include "keel.h"
            static keel_status score(void *s, keel_call *c, size_t n, float *o) { (void)s; (void)c; (void)n; (void)o; return 0; }
            static const keel_component r = KEEL_REWARD(.name = "r", .score = score);
            KEEL_PLUGIN("org.example.newer", "1.0", &r)
            """)
        #expect(
            refusal(path) == """
                error[plugin]: plugin "org.example.newer" asks for minor 7 of the plugin contract, this Keel offers minor 0
                  at:  \(path)
                  fix: use a newer Keel, or build the plugin with KEEL_API 0
                """)
    }

    /// An older struct ends before the fields it did not know; a newer one has a tail nobody reads.
    @Test(arguments: [-8, 64]) func structsOfAnotherSizeLoad(_ difference: Int) throws {
        let path = try Zoo.build(
            "size\(difference < 0 ? "small" : "big")",
            """
            #include "keel.h"
            static keel_t loss(void *s, keel_call *c) { (void)s; return keel_in(c, "scores"); }
            static keel_status order(void *s, keel_call *c, int64_t e, int64_t *o, size_t n) { (void)s; (void)c; (void)e; (void)o; (void)n; return 0; }
            struct bigger { keel_component c; char tail[64]; };
            static const keel_name needs[] = {"scores", 0};
            static const struct bigger b = {{.size = (uint32_t)((int)sizeof(keel_component) + \(difference)),
              .kind = KEEL_KIND_OBJECTIVE, .name = "sized", .data = "scored", .needs = needs, .loss = loss, .order = order}, "tail"};
            KEEL_PLUGIN("org.example.size", "1.0", &b.c)
            """)
        let loaded = try #require(try Library.open(path).first)
        #expect(loaded.component.name == "sized")
        #expect(loaded.raw.loss != nil)
        #expect((loaded.raw.order == nil) == (difference < 0))
    }

    static let badDescriptors: [(String, String)] = [
        (".name = \"Upper\", .score = score", "is called \"Upper\""),
        (".name = \"r\"", "reward \"r\" has no `score` callback"),
        (".name = \"r\", .score = score, .save = save", "has only one of save and load"),
        (
            ".name = \"r\", .score = score, KEEL_PARAMS(KEEL_PARAM_F64(\"a\", 5, 0, 1, \"\"))",
            "the default 5.0 is not allowed"
        ),
        (
            ".name = \"r\", .score = score, KEEL_PARAMS(KEEL_PARAM_F64(\"a\", 1, 0, 1, \"\"), KEEL_PARAM_BOOL(\"a\", 0, \"\"))",
            "declares the parameter \"a\" twice"
        ),
        (
            ".name = \"r\", .score = score, KEEL_PARAMS(KEEL_PARAM_ENUM(\"a\", \"z\", \"\", \"x\", \"y\"))",
            "is not allowed by its own declaration"
        ),
        (
            ".name = \"r\", .score = score, KEEL_PARAMS(KEEL_PARAM_LIST(\"a\", \"[1,\", 0, 0, \"\"))",
            "is not JSON"
        ),
        (".name = \"r\", .score = score, .help = \"\\xff\\xfe\"", "help is not UTF-8"),
        (".name = \"r\", .score = score, .size = 3", "says that it is 3 bytes long"),
        (".name = \"r\", .score = score, .kind = 17", "is of kind 17"),
    ]

    @Test(arguments: 0..<badDescriptors.count) func badDescriptorsAreNamed(_ number: Int) throws {
        let (fields, expected) = LibraryTests.badDescriptors[number]
        let path = try Zoo.build(
            "bad\(number)",
            """
            #include "keel.h"
            #pragma GCC diagnostic ignored "-Woverride-init"
            keel_status score(void *s, keel_call *c, size_t n, float *o) { (void)s; (void)c; (void)n; (void)o; return 0; }
            keel_status save(void *s, keel_call *c) { (void)s; (void)c; return 0; }
            static const keel_component r = KEEL_REWARD(\(fields));
            KEEL_PLUGIN("org.example.bad", "1.0", &r)
            """)
        #expect(refusal(path).contains(expected), "\(refusal(path))")
    }
}
