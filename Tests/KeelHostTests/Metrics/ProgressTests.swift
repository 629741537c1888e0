import KeelCore
import Testing

@testable import KeelHost

/// What a progress display wrote, at times that the test sets.
final class Screen {
    var text = ""
    var time = 0.0

    func progress(_ terminal: Terminal, isQuiet: Bool = false) -> Progress {
        Progress(
            terminal: terminal, isQuiet: isQuiet, clock: { self.time }, write: { self.text += $0 })
    }
}

@Suite struct ProgressTests {
    @Test func filesGetPlainLines() {
        let screen = Screen()
        let progress = screen.progress(Terminal(isInteractive: false))
        progress.begin(total: 100)
        for step in 1...20 {
            screen.time += 1
            progress.step(step)
            if step % 10 == 0 { progress.log(step: step, [("loss", 0.693147), ("grad_norm", 12)]) }
        }
        progress.note("saved checkpoint-20")
        progress.end()
        #expect(
            screen.text == """
                step 10/100  eta 1 min 30 s  loss 0.6931  grad_norm 12
                step 20/100  eta 1 min 20 s  loss 0.6931  grad_norm 12
                saved checkpoint-20

                """)
    }

    @Test func aSilentMinuteEndsInAHeartbeat() {
        let screen = Screen()
        let progress = screen.progress(Terminal(isInteractive: false))
        progress.begin(total: 10)
        for step in 1...9 {
            screen.time += 25
            progress.step(step)
        }
        #expect(screen.text.split(separator: "\n").count == 3)
    }

    @Test(arguments: [20, 40, 80, 200])
    func aBarStaysOnItsLine(columns: Int) {
        let screen = Screen()
        let progress = screen.progress(Terminal(isInteractive: true, columns: columns))
        progress.begin(total: 50)
        for step in 1...50 {
            screen.time += 1
            progress.log(step: step, [("loss", 1 / 3), ("rewards/margins", -1e-9), ("x", .nan)])
        }
        progress.end()
        #expect(screen.text.hasSuffix("\n"))
        for part in screen.text.dropLast().split(separator: "\r") {
            #expect(part.dropFirst("\u{1B}[K".count).count < max(columns, 20))
        }
    }

    @Test func quietSaysNothing() {
        let screen = Screen()
        for isInteractive in [true, false] {
            let progress = screen.progress(Terminal(isInteractive: isInteractive), isQuiet: true)
            progress.begin(total: 2)
            screen.time += 100
            progress.step(1)
            progress.log(step: 2, [("loss", 1)])
            progress.note("x")
            progress.end()
        }
        #expect(screen.text.isEmpty)
    }

    @Test(arguments: [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")])
    func durations(seconds: Double, text: String) {
        #expect(Progress.duration(seconds) == text)
    }
}
