import KeelCore
import KeelTestSupport
import Testing

/// Bad input ends with one clear error on stderr, the documented exit code, and nothing on stdout.
@Suite struct BadInputTests {
    let folder: TemporaryFolder

    init() throws {
        folder = try TemporaryFolder()
        try folder.write("base/config.json", "{}")
        try folder.write(
            "train.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n")
        try folder.write("noelf.so", "this is no library")
        try folder.write("good.json", BadInputTests.config())
    }

    static func config(
        model: String = "base", data: String = "train.jsonl",
        objective: String = "\"plugin\": \"dpo\"",
        more: String = ""
    ) -> String {
        """
        {
          "model": { "path": "\(model)" },
          "data": { "train": "\(data)" },
          "objective": { \(objective) },\(more)
          "output_dir": "run"
        }
        """
    }

    func expectFailure(
        _ arguments: [String], _ code: ExitCode, _ errors: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try keel(arguments, in: folder.path)
        #expect(outcome.errors == errors + "\n", sourceLocation: sourceLocation)
        #expect(outcome.code == code.rawValue, sourceLocation: sourceLocation)
        #expect(outcome.output == "", sourceLocation: sourceLocation)
        #expect(!Files.exists(folder.path("run")), sourceLocation: sourceLocation)
    }

    @Test func missingConfig() throws {
        try expectFailure(
            ["config", "show", "none.json"], .noInput,
            """
            error[config]: cannot read the file: No such file or directory
              at:  none.json
              fix: check the path
            """)
    }

    /// A reward's name is a column of samples.jsonl, beside those that are always there.
    @Test(arguments: [
        "reward", "prompt", "completion", "finish_reason", "used", "weighted", "step",
    ])
    func aRewardIsNoOtherColumn(name: String) throws {
        let rewards = #"rewards=[{"plugin": "length", "name": "\#(name)"}]"#
        try expectFailure(
            ["config", "show", "good.json", "--set", rewards], .config,
            """
            error[config]: a reward is called "\(name)", which is another column of samples.jsonl
              at:  --set \(rewards), key rewards[0].name
              fix: give it another "name", such as "\(name)_score"
            """)
    }

    @Test func emptyConfig() throws {
        try folder.write("c.json", "")
        try expectFailure(
            ["config", "show", "c.json"], .config,
            """
            error[config]: not valid JSON: the text ends before the value does
              at:  c.json:1:1
            """)
    }

    @Test func severalMistakes() throws {
        try folder.write(
            "c.json",
            BadInputTests.config(
                model: "bas", objective: "\"plugin\": \"dpo\", \"params\": { \"bta\": 1 }",
                more: "\n  \"train\": { \"max_stps\": 3 },"))
        try expectFailure(
            ["config", "show", "c.json"], .config,
            """
            error[config]: model.path: no such folder: bas
              at:  c.json:2:14, key model.path
              fix: did you mean "base" beside it?
            error[config]: unknown key "max_stps"
              at:  c.json:5:14, key train.max_stps
              fix: did you mean "max_steps"?
            error[plugin]: objective "dpo" has no parameter "bta"
              at:  c.json:4:47, key objective.params.bta
              fix: did you mean "beta"? known: beta, loss_type, loss_weights, label_smoothing, \
            length_normalized, reference_free, ld_alpha, f_divergence
            """)
    }

    @Test func missingDataFile() throws {
        try folder.write("c.json", BadInputTests.config(data: "trian.jsonl"))
        try expectFailure(
            ["config", "show", "c.json"], .noInput,
            """
            error[config]: data.train: no such file: trian.jsonl
              at:  c.json:3:13, key data.train
              fix: did you mean "train.jsonl" beside it?
            """)
    }

    @Test func unknownPlugin() throws {
        let objectives =
            "alol, alol_kl, alol_ref_free, alol_seq, dpo, gold, grpo, kto, online_dpo, orpo, ppo, ppo_max, "
            + "pro, reinforce, reward_model, rgold, rlol, rloo, sft, simpo, wbc"
        try folder.write("c.json", BadInputTests.config(objective: "\"plugin\": \"dpoo\""))
        try expectFailure(
            ["config", "show", "c.json"], .unavailable,
            """
            error[config]: no objective is called "dpoo"
              at:  c.json:4:18, key objective.plugin
              fix: did you mean "dpo"? known: \(objectives); a path (./libdpoo.so) works too
            """)
    }

    @Test func pluginThatIsNoLibrary() throws {
        try folder.write("c.json", BadInputTests.config(objective: "\"plugin\": \"./noelf.so\""))
        try expectFailure(
            ["config", "show", "c.json"], .unavailable,
            """
            error[config]: noelf.so is not a shared library (no ELF header)
              at:  c.json:4:18, key objective.plugin: $DIR/noelf.so
              fix: give the .so file that the compiler made; `keel plugin build FILE` makes one
            """)
    }

    @Test func aPluginOfAnotherKind() throws {
        let outcome = try keel(
            ["config", "show", "good.json", "--set", "order.plugin=nucleus"], in: folder.path)
        #expect(outcome.code == ExitCode.unavailable.rawValue)
        #expect(
            outcome.errors.hasPrefix(
                "error[config]: \"nucleus\" is a token sampler, not a data sampler\n"))
    }

    @Test func whatTheObjectiveNeeds() throws {
        try expectFailure(
            ["config", "show", "good.json", "--set", "reference=none"], .config,
            """
            error[config]: objective "dpo" needs reference log-probs, but "reference" is "none"
              at:  --set reference=none, key reference
              fix: set "reference": "initial" to use the starting weights, or name a model: {"path": "..."}
            """)
        try expectFailure(
            ["config", "show", "good.json", "--set", "objective.plugin=rloo"], .config,
            """
            error[config]: objective "rloo" learns from rewards, but the config has none
              at:  --set objective.plugin=rloo, key objective.plugin
              fix: add "rewards": [{"plugin": "length"}]
            """)
    }

    @Test(arguments: [
        (
            ["train.per_device_train_batch_size=12"],
            "an optimizer step has 12 completions, which is no multiple of train.num_generations (8)"
        ),
        (
            ["train.rollout_batch_size=24", "train.gradient_accumulation_steps=2"],
            "train.rollout_batch_size is 24, which is no multiple of the 16 completions of an optimizer step"
        ),
    ])
    func rolloutsHoldWholeGroupsAndSteps(changes: [String], what: String) throws {
        let online = ["objective.plugin=rloo", "rewards=[{\"plugin\": \"length\"}]"]
        let outcome = try keel(
            ["config", "show", "good.json"] + (online + changes).flatMap { ["--set", $0] },
            in: folder.path)
        #expect(outcome.code == ExitCode.config.rawValue, "\(outcome.errors)")
        #expect(outcome.errors.hasPrefix("error[config]: \(what)"), "\(outcome.errors)")
    }

    @Test func errorsForMachines() throws {
        let outcome = try keel(
            ["config", "show", "none.json", "--error-format", "json"], in: folder.path)
        let error = try JSON.parse(outcome.errors)
        #expect(error["code"]?.int == 66)
        #expect(error["at"] == "none.json")
        let usage = try keel(["config", "show", "--error-format=json"], in: folder.path)
        #expect(try JSON.parse(usage.errors)["area"] == "usage")
        #expect(usage.code == 64)
    }

    @Test(arguments: [
        (
            ["confg"],
            "error[usage]: unknown subcommand \"confg\"\n  at:  keel\n  fix: did you mean \"config\"?\n"
        ),
        (
            ["config", "shw"],
            "error[usage]: unknown subcommand \"shw\"\n  at:  keel config\n  fix: did you mean \"show\"?\n"
        ),
    ])
    func misspeltSubcommands(arguments: [String], text: String) throws {
        let outcome = try keel(arguments, in: folder.path)
        #expect(outcome.errors == text)
        #expect(outcome.code == 64)
    }

    @Test(arguments: [
        ["--wibble"], ["config", "show"], ["config", "show", "a", "b"],
        ["version", "--quiet", "--verbose"],
        ["tokenize"], ["plugin", "eval"],
    ])
    func usageErrorsAre64(arguments: [String]) throws {
        let outcome = try keel(arguments, in: folder.path)
        #expect(outcome.code == 64)
        #expect(outcome.errors.hasPrefix("Error: "))
        #expect(outcome.output == "")
    }

    @Test func aFolderWithoutTokenizer() throws {
        try expectFailure(
            ["tokenize", "--model", "base"], .noInput,
            """
            error[tokenizer]: there is no tokenizer.json in the model's folder
              at:  base
              fix: copy tokenizer.json from the model's repository into that folder
            """)
    }
}
