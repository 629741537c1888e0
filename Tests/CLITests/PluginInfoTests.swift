import KeelCore
import KeelTestSupport
import Testing

/// `keel plugin list` and `info`, and the pieces of config that `info` prints.
@Suite struct PluginInfoTests {
    let work: TrainingFolder

    init() throws { work = try TrainingFolder() }

    /// The piece of config at the end of what `info` prints.
    private func snippet(_ plugin: String) throws -> String {
        let info = try keel(["plugin", "info", plugin], in: work.folder.path)
        try #require(info.code == 0, "\(info.errors)")
        let lines = info.output.split(separator: "\n")
        let start = try #require(lines.firstIndex(of: "config"))
        return lines[(start + 1)...].joined(separator: "\n")
    }

    /// Every shipped plugin's piece, pasted as it stands, is a config that `keel check` takes.
    @Test func thePiecesOfConfigWork() throws {
        let list = try keel(["plugin", "list", "--json"], in: work.folder.path)
        let plugins = try #require(try JSON.parse(list.output)["plugins"]?.array)
        #expect(plugins.count >= 10)
        for plugin in plugins {
            let name = try #require(plugin["name"]?.string)
            let kind = try #require(plugin["kind"]?.string)
            var parts = [
                "reward": "\"rewards\": [ { \"plugin\": \"length\" } ]",
                "objective": "\"objective\": { \"plugin\": \"rloo\" }",
            ]
            let path = try #require(plugin["path"]?.string)
            // The model that a reward asks for is the user's; `keel check` would load it.
            let piece = try snippet("\(path)#\(name)")
            if piece.contains("path/to/") { continue }
            parts[kind] = piece
            // The rows have no scores of their own.
            let scored: Set = ["rollouts", "scored", "ranked"]
            if let data = plugin["data"]?.string, !scored.contains(data) { parts["reward"] = nil }
            try work.folder.write(
                "config.json",
                """
                {
                  "model": { "path": "base", "dtype": "f32" },
                  "data": { "train": "train.jsonl", "max_length": 64, "max_completion_length": 8 },
                \(parts.values.joined(separator: ",\n")),
                  "train": { "per_device_train_batch_size": 4, "num_generations": 2, "max_steps": 2 },
                  "output_dir": "run"
                }
                """)
            let checked = try keel(
                ["check", "config.json", "--no-rehearsal"], in: work.folder.path)
            #expect(checked.code == 0, "\(name): \(checked.errors)")
        }
    }

    @Test func infoSaysAllOfAComponent() throws {
        let info = try keel(["plugin", "info", "rloo"], in: work.folder.path).output
        for line in [
            "objective \"rloo\": ", "  runs       in the process of the run\n",
            "  data       rollouts\n", "  gives      advantages\n", "  reduction  row_mean\n",
            "  clip_range            number  0.2      >= 0",
        ] {
            #expect(info.contains(line), "\(line) in \(info)")
        }
        let reward = try keel(["plugin", "info", "length"], in: work.folder.path).output
        #expect(reward.contains("  runs    in worker processes\n"))
    }

    /// A file that holds several components is told by "#name".
    @Test func severalComponentsInAFile() throws {
        try work.folder.write(
            "two.c",
            """
            #include "keel.h"
            static keel_status score(void *self, keel_call *c, size_t n, float *out) {
                for (size_t i = 0; i < n; i++) out[i] = 1;
                return KEEL_OK;
            }
            static keel_t loss(void *self, keel_call *c) { return keel_in(c, "chosen.seq_logprobs"); }
            static const keel_phase phases[] = {
                {.name = "warm", .trains = (const keel_name[]){"value_head", 0}, .steps = "warm_steps", .loss = loss},
                {.name = "policy", .loss = loss, .reduction = "token_mean"}};
            static const keel_component one = KEEL_REWARD(.name = "one", .help = "One.", .score = score);
            static const keel_component two = KEEL_OBJECTIVE(.name = "two", .help = "Two.", .data = "pairs",
                KEEL_NEEDS("chosen.seq_logprobs"), KEEL_HEADS("value_head:linear"),
                KEEL_PARAMS(KEEL_PARAM_I64("warm_steps", 5, 0, 100, "Steps of the first phase.")),
                .phases = phases, .phase_count = 2, .phase_stride = sizeof(keel_phase), .loss = loss);
            KEEL_PLUGIN("test.two", "1.0.0", &one, &two)
            """)
        let built = try keel(["plugin", "build", "two.c"], in: work.folder.path)
        try #require(built.code == 0, "\(built.errors)")
        let info = try keel(["plugin", "info", "./libtwo.so"], in: work.folder.path)
        #expect(info.code == 0, "\(info.errors)")
        #expect(info.output.contains("\"plugin\": \"$DIR/libtwo.so#one\""))
        #expect(
            info.output.contains(
                """
                  heads      value_head:linear
                  reduction  row_mean
                  state      none
                phases
                  warm
                    trains  value_head
                    data    pairs
                """), "\(info.output)")
        #expect(info.output.contains("    steps   the parameter warm_steps\n"), "\(info.output)")
        #expect(info.output.contains("    reduction  token_mean\n"), "\(info.output)")
    }
}
