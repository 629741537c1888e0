import Foundation
import KeelBridge
import KeelCore
import Testing

/// Every plugin of `Tests/Zoo` is caught by the test that claims it and by no other.
///
/// Tests that build on one that failed are skipped, and say so; no other test may be skipped for it,
/// fail or warn.
@Suite(.serialized) struct ConformanceZooTests {
    /// Who is caught by what; a component that is not listed must pass.
    static let claims: [(file: String, component: String?, test: String, words: String)] = [
        // Rewards that end or block their process: the message tells them apart.
        ("crashes.c", "segfault", "reward.runs", "signal 11 (segmentation fault) in: score"),
        ("crashes.c", "hang", "reward.runs", "no answer within"),
        ("crashes.c", "abort", "reward.runs", "signal 6 (aborted)"),
        ("crashes.c", "exit", "reward.runs", "left with status 3"),
        ("crashes.c", "allocate", "reward.runs", "MiB of memory"),
        ("throws.cpp", "throws", "reward.runs", "what():  no score for this row"),
        ("traps.swift", "traps", "reward.runs", "a trap of Swift"),

        // Outputs.
        ("rewards.c", "out_of_bounds", "reward.bounds", "writes 4 bytes outside of the scores"),
        ("rewards.c", "nan", "reward.nan", "computes NaN"),
        ("rewards.c", "infinity", "reward.infinities", "gives inf"),
        ("rewards.c", "no_rows", "reward.no_rows", "score, 0 rows"),
        ("rewards.c", "many_rows", "reward.many_rows", "score, 4096 rows"),

        // Inputs.
        ("rewards.c", "empty_text", "reward.empty_text", "aborted"),
        ("rewards.c", "long_text", "reward.long_text", "aborted"),
        ("rewards.c", "bad_utf8", "reward.invalid_utf8", "aborted"),
        ("rewards.c", "nul_inside", "reward.nul_in_text", "aborted"),
        ("rewards.c", "final_nul", "reward.final_nul", "segmentation fault"),
        ("rewards.c", "writes_input", "reward.read_only", "segmentation fault"),
        ("rewards.c", "missing_field", "reward.fields", "field /answer missing"),

        // Independence.
        ("rewards.c", "time_dependent", "independence.replay", "a second process"),
        ("rewards.c", "hidden_state", "independence.repeated", "scored again on the same"),
        ("rewards.c", "position_dependent", "independence.permuted", "in another order"),
        ("rewards.c", "split_dependent", "independence.split", "rows are scored alone"),
        ("rewards.c", "instance_dependent", "independence.instances", "another instance"),
        ("rewards.c", "race", "independence.threads", "four threads"),

        // What it asks for.
        ("rewards.c", "undeclared_parameter", "parameters.declared", "parameter \"bonus\""),
        ("rewards.c", "undeclared_column", "descriptor.columns", "column \"model_scores\""),

        // Parameters, errors, state, life.
        ("rewards.c", "parameter_edge", "parameters.limits", "with params {\"level\":8"),
        ("rewards.c", "silent_refusal", "parameters.limits", "does not say why"),
        ("rewards.c", "ignores_errors", "errors.services", "`column` fails"),
        ("rewards.c", "ignores_cancel", "errors.cancelled", "no answer within"),
        ("rewards.c", "forgetful_state", "state.future", "gives something else than without"),
        ("rewards.c", "trusting_state", "state.damaged", "accepts 0 of the 8 bytes"),
        ("rewards.c", "use_after_destroy", "fuzz.calls", "aborted"),

        // Resources.
        ("rewards.c", "leak", "resources.memory", "memory grows by about"),
        ("rewards.c", "file_leak", "resources.processes", "file(s) open"),
        ("rewards.c", "thread_leak", "resources.processes", "thread(s) running"),
        ("rewards.c", "fork_bomb", "resources.processes", "a process running"),
        ("rewards.c", "chatter", "resources.output", "writes to standard output"),

        // Descriptions.
        ("descriptors.c", "no_help", "descriptor.help", "has no help text"),
        ("descriptors.c", "unknown_column", "descriptor.needs", "\"respnse\""),
        ("descriptors.c", "odd_flags", "descriptor.flags", "explicit_grad"),

        // Objectives.
        ("objectives.c", "wrong_gradient", "objective.gradient", "the gradient by logprobs"),
        ("objectives.c", "constant_gradient", "objective.constants", "\"rewards\", which is a"),
        ("objectives.c", "stale_handle", "objective.repeated", "a tensor of another call"),
        ("objectives.c", "other_column", "descriptor.columns", "\"ref_seq_logprobs\""),
        ("objectives.c", "infinite_loss", "objective.runs", "is -inf"),
        ("objectives.c", "naive_sigmoid", "objective.extreme", "is inf"),
        ("objectives.c", "tie_nan", "objective.ties", "holds nan"),
        ("objectives.c", "padding", "objective.padding", "changes with the padding"),
        ("objectives.c", "micro_batch", "objective.micro_batches", "not the sum"),
        ("objectives.c", "prepare_drift", "objective.prepare", "other advantages"),
        ("objectives.c", "missing_gift", "objective.gives", "\"returns\""),

        // Samplers.
        ("samplers.c", "token_range", "sampler.runs", "chose token 40 of 40"),
        ("samplers.c", "impossible_token", "sampler.excluded", "which is excluded"),
        ("samplers.c", "exhausted", "sampler.exhausted", "aborted"),
        ("samplers.c", "row_state", "sampler.compaction", "goes on otherwise"),
        ("samplers.c", "mixing", "sampler.mixing", "when it is alone"),
        ("samplers.c", "order_range", "sampler.runs", "there are 10 rows"),
        ("samplers.c", "order_drift", "sampler.repeated", "a fresh instance"),

        // Files.
        ("files/undefined_symbol.c", nil, "file.symbols", "zoo_function_of_nobody"),
        ("files/executable_stack.c", nil, "file.stack", "executable stack"),
        ("files/text_relocation.c", nil, "file.relocations", "text relocations"),
        ("files/second_export.c", nil, "file.exports", "zoo_helper"),
        ("files/missing_library.c", nil, "file.needed", "libzoo_of_nobody.so"),
        ("files/output_at_load.c", nil, "file.pure", "writes to standard output"),
        ("files/thread_in_entry.c", nil, "file.pure", "thread(s) running"),
        ("files/file_in_entry.c", nil, "file.pure", "file(s) open"),
        ("files/changing_entry.c", nil, "file.repeatable", "something else"),
        ("files/crash_at_load.c", nil, "file.loads", "aborted) in: dlopen"),
        ("files/bad_default.c", nil, "descriptor.valid", "not allowed by its own declaration"),
        ("files/bad_size.c", nil, "descriptor.valid", "2 bytes long"),
        ("files/bad_text.c", nil, "descriptor.valid", "not UTF-8"),
    ]

    static let files = {
        var files: [String] = []
        for claim in claims where !files.contains(claim.file) { files.append(claim.file) }
        return files
    }()

    @Test(arguments: files) func isCaughtByItsOwnTest(file: String) throws {
        let path = try ZooBuild.plugin(file)
        var options = ConformanceSuite.Options()
        options.executable = ZooBuild.keel
        options.timeout = file == "crashes.c" ? 6 : 10
        options.maxBytes = 384 << 20
        options.seed = 20
        let report = try ConformanceSuite(path: path, options: options).run()
        for component in Set(report.results.map(\.component)) {
            let results = report.results.filter { $0.component == component }
            let claim = ConformanceZooTests.claims.first {
                $0.file == file && $0.component == component
            }
            let caught = results.filter { $0.level == .fail || $0.level == .warn }
            let name = "\(file) \(component ?? "")"
            let words = caught.map { "\($0.test.id): \($0.what)" }
            guard let claim else {
                #expect(caught.isEmpty, "\(name) is caught by \(words)")
                continue
            }
            #expect(caught.map(\.test.id) == [claim.test], "\(name) is caught by \(words)")
            #expect(
                caught.first?.what.contains(claim.words) ?? false, "\(name): \(words)")
        }
    }

    /// No source of the zoo is left out of the table.
    @Test func everySourceHasAClaim() throws {
        for folder in ["", "files/"] {
            for name in try FileManager.default.contentsOfDirectory(
                atPath: "\(ZooBuild.sources)/\(folder)")
            where [".c", ".cpp", ".swift"].contains(where: name.hasSuffix) {
                #expect(ConformanceZooTests.files.contains(folder + name), "\(folder)\(name)")
            }
        }
    }
}
