import Glibc
import KeelCore

/// What a terminal can show, and what its user wants to see of it.
package struct Terminal: Sendable {
    /// stderr is a terminal that understands carriage returns and escapes.
    package var isInteractive: Bool
    package var hasColor: Bool
    package var columns: Int

    package enum ColorChoice: String, CaseIterable, Sendable { case auto, always, never }

    package init(isInteractive: Bool, hasColor: Bool = false, columns: Int = 80) {
        self.isInteractive = isInteractive
        self.hasColor = hasColor
        self.columns = columns
    }

    /// The terminal of this process: `NO_COLOR`, `CLICOLOR_FORCE`, `TERM=dumb` and `COLUMNS` count.
    ///
    /// - Parameter output: 2, stderr, or 1, stdout.
    package init(color: ColorChoice = .auto, output: Int32 = 2) {
        isInteractive = isatty(output) == 1 && Files.environment("TERM") != "dumb"
        switch color {
        case .always: hasColor = true
        case .never: hasColor = false
        case .auto:
            let isForced = Files.environment("CLICOLOR_FORCE").map { $0 != "0" } ?? false
            hasColor = Files.environment("NO_COLOR") == nil && (isInteractive || isForced)
        }
        var size = winsize()
        if let text = Files.environment("COLUMNS"), let columns = Int(text), columns > 0 {
            self.columns = columns
        } else if ioctl(2, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
            columns = Int(size.ws_col)
        } else {
            columns = 80
        }
    }
}

/// The progress of a run on stderr: one bar on a terminal, plain lines elsewhere.
///
/// Elsewhere: a line per logged step, and a heartbeat when nothing was written for a minute. A carriage
/// return never reaches a file.
package final class Progress {
    package let terminal: Terminal
    private let isQuiet: Bool
    private let clock: () -> Double
    private let write: (String) -> Void
    private var total = 0
    private var label = "step"
    private var started = 0.0
    private var firstStep = 0
    private var lastStep = 0
    private var lastWritten = 0.0
    private var status = ""
    private var hasBar = false

    /// - Parameters:
    ///   - isQuiet: nothing but warnings (`-q`).
    ///   - clock: seconds, never going back.
    ///   - write: takes the text for stderr.
    package init(
        terminal: Terminal, isQuiet: Bool = false, clock: @escaping () -> Double = Clock.now,
        write: @escaping (String) -> Void = Log.stderr
    ) {
        self.terminal = terminal
        self.isQuiet = isQuiet
        self.clock = clock
        self.write = write
    }

    /// Begins a count to `total`; `done` are those of a resumed run.
    package func begin(_ label: String = "step", total: Int, done: Int = 0) {
        self.label = label
        self.total = total
        firstStep = done
        lastStep = done
        started = clock()
        lastWritten = started
        status = ""
        draw(force: true)
    }

    /// Says that `step` is done.
    ///
    /// - Parameter total: what is counted to from here on; nil = as before.
    package func step(_ step: Int, of total: Int? = nil) {
        self.total = total ?? self.total
        lastStep = step
        if terminal.isInteractive {
            draw(force: step == self.total)
        } else if !isQuiet, clock() - lastWritten >= 60 {
            line(heading(step))
        }
    }

    /// Shows the numbers of a logged step, the most telling first.
    package func log(step: Int, _ values: some Sequence<(String, Double)>) {
        lastStep = max(step, lastStep)
        let numbers = values.map { "\($0.0) \($0.1.text())" }
        if terminal.isInteractive {
            status = numbers.prefix(4).joined(separator: "  ")
            draw(force: true)
        } else if !isQuiet {
            line(([heading(step)] + numbers).joined(separator: "  "))
        }
    }

    /// A line of its own: an evaluation, a saved checkpoint.
    package func note(_ text: String) {
        guard !isQuiet else { return }
        erase()
        line(text)
        draw(force: true)
    }

    /// Ends the bar; what is written next starts on a fresh line.
    package func end() {
        guard hasBar else { return }
        write("\n")
        hasBar = false
    }

    // MARK: - Drawing

    private func line(_ text: String) {
        write(text + "\n")
        lastWritten = clock()
    }

    private func heading(_ step: Int) -> String {
        var text = "\(label) \(step)/\(total)"
        if let left = remaining(step) { text += "  eta \(Progress.duration(left))" }
        return text
    }

    private func remaining(_ step: Int) -> Double? {
        guard step > firstStep, step < total else { return nil }
        return (clock() - started) / Double(step - firstStep) * Double(total - step)
    }

    private func erase() {
        guard hasBar else { return }
        write("\r\u{1B}[K")
        hasBar = false
    }

    private func draw(force: Bool) {
        guard terminal.isInteractive, !isQuiet, total > 0 else { return }
        let now = clock()
        guard force || now - lastWritten >= 0.1 else { return }
        lastWritten = now
        let width = max(10, min(30, terminal.columns / 4))
        let filled = min(width, width * lastStep / total)
        var bar = String(repeating: "━", count: filled)
        let rest = String(repeating: "─", count: width - filled)
        if terminal.hasColor { bar = "\u{1B}[32m\(bar)\u{1B}[0m" }
        // Keep the text within one line: a wrapped bar cannot be erased.
        let text = " \(heading(lastStep))  \(status)".prefix(max(0, terminal.columns - width - 1))
        write("\r\u{1B}[K\(bar)\(rest)\(text)")
        hasBar = true
    }

    /// `42 s`, `3 min 5 s`, `2 h 10 min`.
    package static func duration(_ seconds: Double) -> String {
        let whole = Int(seconds.rounded())
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        return "\(whole / 3600) h \(whole % 3600 / 60) min"
    }
}
