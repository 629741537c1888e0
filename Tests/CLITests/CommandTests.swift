import KeelCore
import KeelTestSupport
import Testing

@Suite struct CommandTests {
    let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test func version() throws {
        let text = try keel(["version"], in: folder.path)
        #expect(text.code == 0)
        #expect(text.output.hasPrefix("keel \(Build.version) (machine "))
        let json = try keel(["version", "--json"], in: folder.path)
        #expect(try JSON.parse(json.output)["version"] == .string(Build.version))
        #expect(try keel(["--version"], in: folder.path).output == Build.version + "\n")
    }

    @Test func doctorSeesTheShippedPlugins() throws {
        let outcome = try keel(["doctor", "--json"], in: folder.path)
        #expect(outcome.code == 0, "\(outcome.errors)")
        let report = try JSON.parse(outcome.output)
        #expect(report["problems"] == [])
        #expect(
            report["plugins"]?["objectives"]
                == .string(
                    "alol alol_kl alol_ref_free alol_seq dpo gold grpo kto online_dpo orpo ppo ppo_max pro "
                        + "reinforce reward_model rgold rlol rloo sft simpo wbc"))
        #expect(
            report["plugins"]?["rewards"]
                == "exact_answer judge length lexicon model regex repetition tfidf_novelty")
        #expect(report["libraries"]?["oneDNN"]?.string?.contains(".") == true)
    }

    @Test func doctorNamesABrokenPlugin() throws {
        try folder.write("plugins/libbad.so", "no library")
        let outcome = try keel(["doctor", "--plugin-path", "plugins"], in: folder.path)
        #expect(outcome.code == ExitCode.unavailable.rawValue)
        #expect(outcome.output.contains("problems\n  $DIR/plugins/libbad.so: "))
    }

    @Test func theSchemaIsJSON() throws {
        let outcome = try keel(["config", "schema"], in: folder.path)
        #expect(try JSON.parse(outcome.output)["properties"]?["train"] != nil)
    }

    /// Every subcommand explains itself, with an example where it does something.
    @Test func helpEverywhere() throws {
        let top = try keel(["--help"], in: folder.path).output
        let names = top.split(separator: "\n").drop { $0 != "SUBCOMMANDS:" }.dropFirst()
            .filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") && !$0.contains("'") }
            .compactMap { $0.split(separator: " ").first.map(String.init) }
        #expect(names.count >= 5)
        for name in names {
            let help = try keel([name, "--help"], in: folder.path)
            #expect(help.code == 0)
            #expect(help.output.contains("USAGE: keel \(name)"), "\(name)")
        }
    }

    @Test(arguments: ["bash", "zsh", "fish"])
    func completions(shell: String) throws {
        let outcome = try keel(["--generate-completion-script", shell], in: folder.path)
        #expect(outcome.code == 0)
        #expect(outcome.output.contains("plugin-path"))
    }

    @Test func thePageOfKeys() throws {
        let outcome = try keel(["config", "schema", "--markdown"], in: folder.path)
        #expect(outcome.output.hasPrefix("# The config\n"))
    }
}
