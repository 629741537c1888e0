import Foundation
import KeelCore
import KeelTestSupport
import Testing

/// Files that are no usable plugins, and plugins that fail, given to the built `keel`.
@Suite struct HostilePluginTests {
    let work: HostileFolder

    init() throws { work = try HostileFolder() }

    private static let include = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../SDK/C/include").standardized.path

    /// A reward that is right.
    private static let good = """
        #include "keel.h"
        static keel_status score(void *self, keel_call *c, size_t n, float *out) {
            (void)self; (void)c;
            for (size_t i = 0; i < n; i++) out[i] = (float)i;
            return KEEL_OK;
        }
        static const keel_component bad = KEEL_REWARD(.name = "bad", .help = "Numbers rows.", .score = score);
        KEEL_PLUGIN("test.bad", "1.0.0", &bad)
        """

    /// Compiles C with `cc` to a file in the folder.
    private func compile(
        _ source: String, _ name: String = "libbad.so", _ options: [String] = ["-shared"]
    ) throws {
        try work.folder.write("bad.c", source)
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        compiler.arguments =
            ["cc"] + options + [
                "-fPIC", "-I", HostilePluginTests.include, "-o", work.folder.path(name),
                work.folder.path("bad.c"),
            ]
        try compiler.run()
        compiler.waitUntilExit()
        try #require(compiler.terminationStatus == 0)
    }

    // MARK: - Files

    /// How `libbad.so` is made unusable, and what is said of it.
    enum Damage: String, CaseIterable, Sendable {
        case text, empty, headerOnly, halved, halvedWithoutSections, otherMachine, object, noEntry,
            nothing, newer
        case unresolved
    }

    private func damage(_ damage: Damage) throws -> (what: String, fix: String) {
        let noHeader = (
            "libbad.so is not a shared library (no ELF header)",
            "give the .so file that the compiler made; `keel plugin build FILE` makes one"
        )
        let outside = (
            "libbad.so is damaged: a part of it lies outside of the file", "build or copy it again"
        )
        let good = HostilePluginTests.good
        func change(_ body: (inout [UInt8]) -> Void) throws {
            try compile(good)
            var bytes = try Files.read(work.folder.path("libbad.so"))
            body(&bytes)
            try work.write("libbad.so", bytes)
        }
        switch damage {
        case .text:
            try work.folder.write("libbad.so", "this is no library")
            return noHeader
        case .empty:
            try work.folder.write("libbad.so", "")
            return noHeader
        case .headerOnly:
            try change { $0.removeLast($0.count - 64) }
            return outside
        case .halved:
            try change { $0.removeLast($0.count / 2) }
            return outside
        case .halvedWithoutSections:
            // Without a section table only the segments tell; the loader would die of them.
            try change {
                for at in Array(40..<48) + Array(58..<64) { $0[at] = 0 }
                $0.removeLast($0.count / 2)
            }
            return outside
        case .otherMachine:
            try change { ($0[18], $0[19]) = (243, 0) }
            return (
                "libbad.so was built for RISC-V, this machine is \(HostilePluginTests.machine)",
                "build the plugin on this kind of machine"
            )
        case .object:
            try compile(good, "libbad.so", ["-c"])
            return ("libbad.so is an ELF file but no shared library", "link it with -shared")
        case .noEntry:
            try compile("int useful(void) { return 0; }")
            return (
                "libbad.so is not a Keel plugin: it does not export keel_plugin_v1",
                "end the file with KEEL_PLUGIN(...) in C, or a public @c(keel_plugin_v1) function in Swift"
            )
        case .nothing:
            try compile("const void *keel_plugin_v1(void) { return 0; }")
            return (
                "keel_plugin_v1 of libbad.so returned nothing",
                "return the address of a keel_plugin"
            )
        case .newer:
            try compile("#define KEEL_API 999\n" + good)
            return (
                "plugin \"test.bad\" asks for minor 999 of the plugin contract, this Keel offers minor 0",
                "use a newer Keel, or build the plugin with KEEL_API 0"
            )
        case .unresolved:
            try compile(
                good.replacingOccurrences(
                    of: "return KEEL_OK", with: "extern int absent(void); return absent()"))
            return (
                "cannot load libbad.so: $DIR/libbad.so: undefined symbol: absent",
                "link what it needs into it, or install it; `ldd $DIR/libbad.so` shows what is missing"
            )
        }
    }

    private static var machine: String {
        #if arch(arm64)
            "aarch64"
        #else
            "x86-64"
        #endif
    }

    @Test(arguments: Damage.allCases)
    func filesThatAreNoPlugins(kind: Damage) throws {
        let (what, fix) = try damage(kind)
        for arguments in [
            ["plugin", "info", "./libbad.so"],
            ["reward", "try", "./libbad.so", "--data", "train.jsonl"],
        ] {
            try work.expectRefusal(
                arguments, .unavailable,
                HostileFolder.error("plugin", what, at: "$DIR/libbad.so", fix: fix))
        }
        for command in ["train", "check"] {
            try work.expectRefusal(
                [command, "rloo.json"], .unavailable,
                HostileFolder.error(
                    "config", what, at: "rloo.json:5:18, key rewards[0].plugin: $DIR/libbad.so",
                    fix: fix))
        }
    }

    @Test func aPluginThatIsNotThere() throws {
        try work.expectRefusal(
            ["train", "rloo.json"], .unavailable,
            """
            error[config]: rewards[0].plugin: no such plugin file: ./libbad.so
              at:  rloo.json:5:18, key rewards[0].plugin
              fix: check the path; it is relative to the config file
            """)
    }

    // MARK: - Failures in the middle of a run

    /// Goes wrong, as its parameter says, at the sixth row of the data.
    private static let failing = """
        #include "keel.h"
        #include <math.h>
        #include <string.h>
        static keel_status score(void *self, keel_call *c, size_t n, float *out) {
            int how = (int)keel_num(c, "how");
            (void)self;
            for (size_t i = 0; i < n; i++) {
                keel_str prompt = keel_text(c, "prompt", i);
                out[i] = (float)(i % 2);
                if (prompt.n < 14 || memcmp(prompt.p, "Tell me 6 ", 10) != 0) continue;
                if (how == 1) out[i] = INFINITY;
                if (how == 2) out[i] = NAN;
                if (how == 3) return keel_fail(c, KEEL_E_INVALID, "the judge went home");
                if (how == 4) return KEEL_E_INTERNAL;
            }
            return KEEL_OK;
        }
        static const keel_component bad = KEEL_REWARD(.name = "bad", .help = "Fails.",
            KEEL_PARAMS(KEEL_PARAM_I64("how", 0, 0, 4, "What goes wrong.")), .score = score);
        KEEL_PLUGIN("test.bad", "1.0.0", &bad)
        """

    @Test(arguments: [
        (
            1,
            "error[plugin]: reward \"bad\" gave inf to row 5\n  at:  $DIR/libbad.so, score, step 2, row 5\n",
            "a score is a finite number, or NaN where the reward does not apply\n       "
        ),
        (
            2, "error[reward]: no reward applies to this row\n  at:  row 5\n",
            "let one of the rewards answer it, or set combine.missing to \"drop_row\" or \"constant\"\n       "
        ),
        (
            3,
            "error[plugin]: reward \"bad\": the judge went home\n  at:  $DIR/libbad.so, score, step 2, row 5\n",
            ""
        ),
        (
            4,
            "error[plugin]: reward \"bad\": returned the status \"internal\" without a text\n"
                + "  at:  $DIR/libbad.so, score, step 2, row 5\n", ""
        ),
    ])
    func aRewardFailsInTheMiddle(how: Int, error: String, fix: String) throws {
        try compile(HostilePluginTests.failing)
        let arguments = { (how: Int) in
            [
                "train", "rloo.json", "--set",
                "rewards=[{\"plugin\": \"./libbad.so\", \"params\": {\"how\": \(how)}}]",
            ]
        }
        let outcome = try keel(arguments(how), in: work.folder.path)
        #expect(outcome.code == ExitCode.stopped.rawValue, "\(outcome.errors)")
        let note =
            "the checkpoint of step 2 is in $DIR/run/checkpoint-2; go on with --resume auto\n"
        #expect(outcome.errors.hasSuffix(error + "  fix: " + fix + note), "\(outcome.errors)")
        #expect(outcome.errors.components(separatedBy: "error[").count == 2, "\(outcome.errors)")
        #expect(
            try Files.list(work.folder.path("run")).sorted() == [
                "checkpoint-2", "keel_run.json", "metrics.jsonl", "run_log.jsonl", "runs",
                "samples.jsonl",
            ])
        try work.expectNothingPartial()

        // With what was wrong put right, it goes on.
        let again = try keel(arguments(0) + ["--resume", "auto"], in: work.folder.path)
        #expect(again.code == 0, "\(again.errors)")
        #expect(Files.exists(work.folder.path("run/checkpoint-4/model.safetensors")))
    }

    /// Scores that are wrong outside of a run.
    @Test func aRewardFailsOnTrial() throws {
        try compile(HostilePluginTests.failing)
        try work.expectRefusal(
            [
                "reward", "try", "./libbad.so", "--data", "train.jsonl", "--params", "{\"how\": 3}",
            ], .failed,
            """
            error[plugin]: reward "bad": the judge went home
              at:  $DIR/libbad.so, score, step 0, row 5
            """)
    }
}
