import Foundation
import KeelCore
import Testing

@testable import KeelBridge

/// Old, present and later plugins on old, present and later hosts.
///
/// "Later" is made from today's header: every struct and the host's table have grown, and there is a function that
/// only minor 1 offers.
@Suite(.serialized) struct SkewTests {
    private static let newer = Result { try ABI.folder("newer", holding: ABI.newerHeader) }

    /// The frozen plugin, as compiled with the released header and with the later one.
    private static let plugins = Result {
        (
            old: try ABI.compile(
                ABI.path("1.0/plugin.c"), include: ABI.path("1.0"), name: "skew_old.so"),
            grown: try ABI.compile(
                ABI.path("1.0/plugin.c"), include: try newer.get(), name: "skew_grown.so"),
            careful: try ABI.compile(
                ABI.path("newer.c"), include: try newer.get(), name: "skew_careful.so",
                options: ["-DKEEL_API=0"]),
            eager: try ABI.compile(
                ABI.path("newer.c"), include: try newer.get(), name: "skew_eager.so",
                options: ["-DKEEL_API=1"])
        )
    }

    private static let hosts = Result {
        (
            old: try ABI.compile(
                ABI.path("host.c"), include: ABI.path("1.0"), name: "skew_host_old", program: true),
            later: try ABI.compile(
                ABI.path("host.c"), include: try newer.get(), name: "skew_host_later",
                program: true, options: ["-DHOST_MINOR=1"])
        )
    }

    /// What a small host prints about a component, and how it ends.
    private func run(
        _ host: String, _ plugin: String, _ component: String
    ) throws -> (
        status: Int32, text: String
    ) {
        let output = "\(Zoo.folder)/skew.txt"
        let status = try Subprocess.run([
            "sh", "-c", "\"$0\" \"$1\" \"$2\" >\"$3\"", host, plugin, component, output,
        ])
        return (status, try String(contentsOfFile: output, encoding: .utf8))
    }

    @Test func theLaterHeaderHasGrownEverywhere() throws {
        let source = "\(Zoo.folder)/sizes.c"
        let names = ["host", "plugin", "component", "phase", "param"]
        let prints = names.map { "printf(\"%zu \", sizeof(keel_\($0)));" }.joined()
        try "#include <stdio.h>\n#include \"keel.h\"\nint main(void) { \(prints) return 0; }".write(
            toFile: source, atomically: true, encoding: .utf8)
        var sizes: [[Int]] = []
        for include in [ABI.path("1.0"), try Self.newer.get()] {
            let program = try ABI.compile(source, include: include, name: "sizes", program: true)
            sizes.append(
                try run(program, "-", "-").text.split(separator: " ").compactMap { Int($0) })
        }
        #expect(sizes[0].count == 5 && zip(sizes[0], sizes[1]).allSatisfy { $0 < $1 }, "\(sizes)")
    }

    /// On the small hosts, old and later, the frozen plugin prints the same whichever header it was built with.
    @Test(arguments: ["frozen_reward", "frozen_pairs", "frozen_order"])
    func anOldPluginRunsEverywhere(_ component: String) throws {
        let (hosts, plugins) = (try Self.hosts.get(), try Self.plugins.get())
        let reference = try run(hosts.old, plugins.old, component)
        #expect(
            reference.status == 0 && reference.text.split(separator: "\n").count > 4, "\(reference)"
        )
        #expect(try run(hosts.old, plugins.grown, component) == reference)
        let more = "category none, finish none\n"
        for plugin in [plugins.old, plugins.grown] {
            let later = try run(hosts.later, plugin, component)
            #expect(later == (0, reference.text + more))
        }
    }

    /// On today's host a plugin built with the later header gives the recorded bits as well.
    @Test func aPluginWithGrownStructsRunsOnTodaysHost() throws {
        let corpus = try Corpus(path: try Self.plugins.get().grown)
        let differences = corpus.differences(
            from: try CorpusTests.record("c"), isReference: CorpusTests.isReference)
        #expect(differences.isEmpty, "\(differences.joined(separator: "\n"))")
    }

    /// A later plugin that asks for minor 0 may fill fields that nobody here knows.
    @Test func aCarefulLaterPluginRunsEverywhere() throws {
        let (hosts, plugins) = (try Self.hosts.get(), try Self.plugins.get())
        let old = try run(hosts.old, plugins.careful, "newer")
        #expect(old.status == 0)
        #expect(old.text == "status 0\nscore 0x0p+0\nscore 0x1p+3\nscore 0x1p+5\n")
        let later = try run(hosts.later, plugins.careful, "newer")
        #expect(
            later.text == old.text
                + "category length, finish yes\nmetric finished 0x1p+0 0\n")
        let component = try Zoo.catalog.find(plugins.careful, kind: .reward)
        #expect(component.parameters.map(\.name) == ["shift", "scale"])
        let reward = try InProcessReward(
            component, catalog: Zoo.catalog, parameters: try component.validate(params: [:]))
        try reward.submit(
            [RewardRow(id: 1, prompt: [], response: Array("four".utf8))], context: CallContext())
        #expect(try reward.collect().map(\.value) == [8])
    }

    /// One that asks for minor 1 is refused in one sentence where there is no minor 1, and runs where there is.
    @Test func anEagerLaterPluginIsRefusedByOlderHosts() throws {
        let (hosts, plugins) = (try Self.hosts.get(), try Self.plugins.get())
        #expect(
            try run(hosts.old, plugins.eager, "newer")
                == (3, "refused: test.newer asks for minor 1, this host offers 0\n"))
        let text = message { _ = try Zoo.catalog.find(plugins.eager, kind: nil) }
        #expect(
            text.contains(
                "plugin \"test.newer\" asks for minor 1 of the plugin contract, this Keel offers minor 0"
            ), "\(text)")
        let later = try run(hosts.later, plugins.eager, "newer")
        #expect(later.status == 0)
        #expect(later.text.hasPrefix("status 0\nscore 0x1.9p+6\nscore 0x1.bp+6\nscore 0x1.08p+7\n"))
    }
}
